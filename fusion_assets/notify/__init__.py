"""Who is told when something went wrong, and in which words.

What belongs here: who subscribed to which event, the words of every mail, and the mailbox, which sends each once and so
that it can never hurt the work it reports on. What does not: speaking SMTP (`resources.smtp`), and deciding that
something went wrong.
"""
