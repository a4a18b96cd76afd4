"""Making room on the NAS: what may leave it, in which order, and proof of that at the moment it does.

`policy` and `forecast` are pure; `pins` and `history` keep what people said and what was measured; `store` looks at all
copies cheaply, `gates` at one of them thoroughly; `evict` deletes it, `trash` ends what a crash broke off, `cleaning`
does so for as many as are needed. S3 is never touched.
"""
