"""Generated studies: valid trees, valid trees with one thing broken, and listings no disk would give.

What belongs here: hypothesis strategies and an in-memory storage to put trees in, for any test that needs studies. What
does not: tests.
"""

# ruff: noqa: RUF001 - look-alikes of ASCII characters are what some names are made of

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from hypothesis import strategies as st

from fusion_assets.standard.examples import listing_of
from fusion_assets.standard.listing import Listing
from resources.errors import NotFoundError, ResourceError
from resources.storage import Entry

FIELD_CHARACTERS = string.ascii_letters + string.digits + "-"
TODAY = date(2026, 2, 1)

fields = st.text(FIELD_CHARACTERS, min_size=1, max_size=8)
days = st.dates(date(2015, 1, 1), date(2026, 2, 1))


@st.composite
def study_names(draw) -> str:
    """Names that keep R1 and R3 and give no warning on `TODAY`."""
    return "_".join([draw(days).strftime("%Y%m%d"), draw(fields), draw(fields), draw(fields)])


@dataclass(frozen=True)
class Tree:
    """A study as a set of paths: ``a/`` a directory, ``a`` a file, ``a -> b`` a link; parents are implied."""

    study: str
    paths: frozenset[str]
    experiments: tuple[str, ...]

    @property
    def listing(self) -> Listing:
        return listing_of(self.study, self.paths)

    def but(self, *, add: set[str] = frozenset(), drop: Callable[[str], bool] = lambda _: False) -> Tree:
        return Tree(self.study, frozenset(p for p in self.paths if not drop(p)) | add, self.experiments)

    def renamed(self, study: str) -> Tree:
        """The same study under another name, its experiments and designs renamed along."""
        swap = lambda path: path.replace(self.study, study)  # noqa: E731
        return Tree(study, frozenset(map(swap, self.paths)), tuple(map(swap, self.experiments)))


def complete_scan(experiment: str, number: int = 1) -> set[str]:
    scan = f"{experiment}/Scan{number}"
    return {f"{scan}/{experiment}_Scan{number}.qptiff", f"{scan}/.temp/MarkerList.txt"}


@st.composite
def valid_trees(draw) -> Tree:
    """Studies that keep all eight rules: one or several experiments and scans, with and without .fpr and .xpd."""
    study = draw(study_names())
    suffixes = draw(st.lists(st.just("") | fields, min_size=1, max_size=4, unique_by=str.casefold))
    experiments = tuple(f"{study}_{suffix}" if suffix else study for suffix in suffixes)
    paths: set[str] = set()
    for experiment in experiments:
        complete, *others = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True))
        paths |= complete_scan(experiment, complete)
        for number in others:
            paths |= draw(st.sampled_from([complete_scan(experiment, number), {f"{experiment}/Scan{number}/.temp/"}]))
        if draw(st.booleans()):
            paths.add(f"{experiment}/Scan{complete}/.temp/{experiment}_Cycle1.raw.qptiff")
        if draw(st.booleans()):
            paths.add(f"{experiment}/notes of the operator.txt")
    with_fpr = draw(st.booleans())
    if with_fpr:
        paths.add(draw(st.lists(fields, min_size=1, max_size=3).map("_".join)) + ".fpr")
    designed = draw(st.sets(st.sampled_from(experiments))) if with_fpr else experiments
    paths |= {f"{experiment}.xpd" for experiment in designed}
    paths |= draw(st.sets(st.sampled_from([".fusion-toolkit.lock", "_checksums.sha256", "a.qptiff.partial"])))
    return Tree(study, frozenset(paths), experiments)


Expected = set[tuple[str, str]]
Mutation = Callable[[st.DrawFn, Tree], tuple[Tree, Expected]]
FOREIGN = " .+&()éß肺٣\t\n,'"


def _metadata(path: str) -> bool:
    return "/" not in path and path.endswith((".xpd", ".fpr"))


def a_field_too_many(draw, tree):
    renamed = tree.renamed(f"{tree.study}_{draw(fields)}")
    return renamed, {("R1", renamed.study)}


def a_field_too_few(draw, tree):
    renamed = tree.renamed(tree.study.rpartition("_")[0])
    return renamed, {("R1", renamed.study)}


def an_empty_field(draw, tree):
    day, _, project, custom = tree.study.split("_")
    renamed = tree.renamed(f"{day}__{project}_{custom}")
    return renamed, {("R1", renamed.study)}


def a_day_that_does_not_exist(draw, tree):
    wrong = draw(st.sampled_from(["20250230", "20251301", "20250100", "00000101", "20230229", "31122025"]))
    renamed = tree.renamed(f"{wrong}_{tree.study.partition('_')[2]}")
    return renamed, {("R1", renamed.study)}


def a_date_that_is_not_eight_ascii_digits(draw, tree):
    wrong = draw(st.sampled_from(["2025010", "202501011", "2025-1-1", "٢٠٢٥٠١٠١", "２０２５０１０１", " 20250101"]))
    renamed = tree.renamed(f"{wrong}_{tree.study.partition('_')[2]}")
    return renamed, {("R1", renamed.study)}


def a_foreign_character_in_the_study_name(draw, tree):
    parts = tree.study.split("_")
    number = draw(st.integers(1, 3))
    parts[number] += draw(st.sampled_from(FOREIGN))
    renamed = tree.renamed("_".join(parts))
    return renamed, {("R3", renamed.study)}


def a_misnamed_experiment(draw, tree):
    tail = draw(st.sampled_from(["_", "__A", "_A_B", "_A B", "_é", "_肺", " copy", "x1", "-1", ".old", "_A\n"]))
    name = tree.study + tail
    return tree.but(add=complete_scan(name)), {("R2", f"{tree.study}/{name}")}


def an_experiment_and_its_design_renamed_badly(draw, tree):
    good, bad = f"{tree.study}_qqqqqqqqq", f"{tree.study}_qqq_qqqqqq"
    broken = tree.but(add={*complete_scan(bad), f"{bad}.xpd"})
    assert good not in tree.experiments
    return broken, {("R2", f"{tree.study}/{bad}"), ("R6", f"{tree.study}/{bad}.xpd")}


def an_experiment_name_of_61_characters(draw, tree):
    name = tree.study + "_" + "x" * (61 - len(tree.study) - 1)
    return tree.but(add=complete_scan(name)), {("R3", f"{tree.study}/{name}")}


def no_metadata(draw, tree):
    return tree.but(drop=_metadata), {("R4", tree.study)}


def no_experiments(draw, tree):
    # Those of other spelling, too: A.fpr beside a.fpr would be a collision as well.
    dropped = tree.but(drop=lambda path: "/" in path or path.lower().endswith((".xpd", ".fpr")), add={"a.fpr"})
    return dropped, {("R4", tree.study)}


def a_file_out_of_place(draw, tree):
    name = draw(st.sampled_from(["notes.txt", "x.xpd.bak", "image.qptiff", ".xpd", ".FPR", "xpd", "Scan1", ".hidden"]))
    return tree.but(add={name}), {("R5", f"{tree.study}/{name}")}


def litter(draw, tree):
    name = draw(st.sampled_from([".DS_Store", "Thumbs.db", "thumbs.db", "desktop.ini", "Desktop.ini", "._x.xpd"]))
    return tree.but(add={name}), {("R5", f"{tree.study}/{name}")}


def a_directory_out_of_place(draw, tree):
    name = draw(
        st.sampled_from(["H10", "Scan1", ".temp", "old.xpd", "old.FPR", "x.partial", "_checksums", "Thumbs.db"])
    )
    return tree.but(add={f"{name}/"}), {("R5", f"{tree.study}/{name}")}


def a_link(draw, tree):
    name = draw(st.sampled_from(["link", f"{tree.study}_linked", "linked.xpd", "linked.fpr", "x.partial"]))
    return tree.but(add={f"{name} -> /elsewhere"}), {("R5", f"{tree.study}/{name}")}


def two_paths_that_differ_only_in_case(draw, tree):
    experiment = draw(st.sampled_from(tree.experiments))
    folder = f"{experiment}/zzz"
    return tree.but(add={f"{folder}/Ab.txt", f"{folder}/aB.txt"}), {("R5", f"{tree.study}/{folder}/aB.txt")}


def two_directories_that_differ_only_in_case(draw, tree):
    """What is in them clashes too; only the directories are worth a report."""
    experiment = draw(st.sampled_from(tree.experiments))
    added = {f"{experiment}/Zzz/a.txt", f"{experiment}/zzz/a.txt"}
    return tree.but(add=added), {("R5", f"{tree.study}/{experiment}/zzz")}


def a_design_without_its_experiment(draw, tree):
    name = draw(st.sampled_from([f"{tree.study}_qqqqqqqqq", "other", "a b", f"{tree.study}_é"])) + ".xpd"
    return tree.but(add={name}), {("R6", f"{tree.study}/{name}")}


def a_design_whose_case_differs(draw, tree):
    experiment = f"{tree.study}_Qqqqqqqqq"
    wrong = f"{tree.study}_qqqqqqqqq.xpd"
    return tree.but(add={*complete_scan(experiment), wrong}), {("R6", f"{tree.study}/{wrong}")}


def an_ill_named_fpr(draw, tree):
    wrong = draw(st.sampled_from(["a b", "_", "a__b", "a_", "_a", "é", "a.b", "a\n", "٣"])) + ".fpr"
    return tree.but(add={wrong}), {("R7", f"{tree.study}/{wrong}")}


def an_experiment_without_a_scan(draw, tree):
    experiment = draw(st.sampled_from(tree.experiments))
    emptied = tree.but(drop=lambda path: path.startswith(f"{experiment}/Scan"), add={f"{experiment}/"})
    return emptied, {("R8", f"{tree.study}/{experiment}")}


def scans_without_images(draw, tree):
    """Raw images in .temp stay: they are not the image."""
    experiment = draw(st.sampled_from(tree.experiments))
    without = tree.but(
        drop=lambda path: path.startswith(f"{experiment}/") and path.endswith(".qptiff") and ".temp/" not in path
    )
    return without, {("R8", f"{tree.study}/{experiment}")}


def scans_without_temp(draw, tree):
    experiment = draw(st.sampled_from(tree.experiments))
    without = tree.but(drop=lambda path: path.startswith(f"{experiment}/") and ".temp/" in path)
    return without, {("R8", f"{tree.study}/{experiment}")}


def a_scan_one_level_too_deep(draw, tree):
    experiment = draw(st.sampled_from(tree.experiments))
    scans = {path for path in tree.paths if path.startswith(f"{experiment}/Scan")}
    moved = {path.replace(f"{experiment}/", f"{experiment}/deeper/", 1) for path in scans}
    return tree.but(drop=scans.__contains__, add=moved), {("R8", f"{tree.study}/{experiment}")}


MUTATIONS: tuple[Mutation, ...] = (
    a_field_too_many,
    a_field_too_few,
    an_empty_field,
    a_day_that_does_not_exist,
    a_date_that_is_not_eight_ascii_digits,
    a_foreign_character_in_the_study_name,
    a_misnamed_experiment,
    an_experiment_and_its_design_renamed_badly,
    an_experiment_name_of_61_characters,
    no_metadata,
    no_experiments,
    a_file_out_of_place,
    litter,
    a_directory_out_of_place,
    a_link,
    two_paths_that_differ_only_in_case,
    two_directories_that_differ_only_in_case,
    a_design_without_its_experiment,
    a_design_whose_case_differs,
    an_ill_named_fpr,
    an_experiment_without_a_scan,
    scans_without_images,
    scans_without_temp,
    a_scan_one_level_too_deep,
)


# Pieces that look like the real thing, so that odd listings reach all branches, among characters of any kind: lone
# surrogates are how Python shows a file name that is no text.
_PIECES = st.sampled_from(
    ["20260105_WW_HCC_run1", "Scan1", "scan01", ".temp", ".xpd", ".XPD", ".fpr", ".qptiff", "._", ".DS_Store", "_", "-"]
)
_ANY_TEXT = st.text(st.characters() | st.just("/") | st.just("\udcff"), max_size=12)
odd_names = st.lists(_PIECES | _ANY_TEXT, max_size=4).map("".join)
odd_paths = st.lists(odd_names, max_size=4).map("/".join)

odd_listings = st.builds(
    Listing,
    name=odd_names,
    entries=st.lists(
        st.builds(
            Entry,
            path=odd_paths,
            kind=st.sampled_from(["file", "directory", "symlink", "other"]),
            size=st.integers(0, 1 << 48),
            mtime_ns=st.integers(-(1 << 62), 1 << 62),
        ),
        max_size=20,
    ).map(tuple),
)


@dataclass
class MemoryStorage:
    """Studies in memory behind the listing half of the `Storage` interface; counts what it is asked.

    Attributes:
        trees: Listings by study; paths relative to the study.
        loose: What else is in the root.
        failing: Studies that cannot be listed, and the error they raise.
    """

    trees: Mapping[str, Listing]
    loose: tuple[Entry, ...] = ()
    failing: Mapping[str, ResourceError] = field(default_factory=dict)
    root: str = "/lab"
    calls: Counter[str] = field(default_factory=Counter)

    def location(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def check_mounted(self) -> None:
        self.calls["check_mounted"] += 1

    def list(self, path: str = "") -> list[Entry]:
        assert not path
        self.calls["list"] += 1
        studies = [Entry(name, "directory", 0, 0) for name in {*self.trees, *self.failing}]
        return sorted([*studies, *self.loose], key=lambda entry: entry.path)

    def walk(self, path: str = "") -> Iterator[Entry]:
        self.calls["walk"] += 1
        if path in self.failing:
            raise self.failing[path]
        if path not in self.trees:
            raise NotFoundError(f"{path} is not there", path=path)
        for entry in self.trees[path].entries:
            yield Entry(f"{path}/{entry.path}", entry.kind, entry.size, entry.mtime_ns)
