"""The run list of the suite as data: which models are trained, at which rates, on how many tokens.

A *run* is one curve in the table. A *job* is what is trained in one go: a stack of models of one size that differ in
learning rate, weight decay or seed, and, where the rate is constant, the cooled branches that leave that trunk.
Stacks are part of the plan and not of the machine, so that a remade run meets the same arithmetic.
Torch is not needed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scalebook.suite.corpus import CONTEXT, VOCABULARY

BLOCKS = {
    "M": "main grid: size x tokens, constant rate and cooled branches",
    "L": "learning rate",
    "S": "schedules: cosine and linear runs beside the branches of M",
    "W": "weight decay x batch, at fixed tokens and at fixed steps",
    "B": "batch x learning rate",
    "H": "shape: depth against width at one number of parameters",
    "G": "size x tokens x learning rate, to 38 million parameters",
    "R": "repeated text: size x unique tokens x epochs",
    "T": "well tuned and long: size x learning rate below the law's, at 8 and 16 million tokens",
    "U": "small sizes tuned and long: m0 to m4 x learning rate up to the law's, from 1 to 16 million tokens",
}
GPU_BLOCKS = "GRT"  # a day or more on a CPU
FIRST_SEED = 1000  # seeds below were used to choose the design
BATCH = 8 * CONTEXT  # tokens a step unless a block varies it
COOLDOWN = 0.2  # share of a run's steps, at its end
WARMUP_STEPS = 20
MILLION = 1_000_000


@dataclass(frozen=True)
class Shape:
    """Width d, layers L and heads of a causal transformer with an MLP of width 4d and untied head."""

    width: int
    layers: int
    heads: int

    @property
    def n_nonemb(self) -> int:
        """Parameters of attention and MLP, 12 L d^2."""
        return 12 * self.layers * self.width**2

    @property
    def n_total(self) -> int:
        """All parameters: with token and position embeddings, head and norms."""
        return self.n_nonemb + (2 * VOCABULARY + CONTEXT) * self.width + (4 * self.layers + 2) * self.width

    def flops(self, tokens: int) -> tuple[int, int, int]:
        """Training cost of so many tokens counted three ways.

        6 N_nonemb D (Kaplan); 6 (N_nonemb + 128 d) D (the head counted); that plus 6 T d L D (attention counted).
        """
        head = 6 * (self.n_nonemb + VOCABULARY * self.width) * tokens
        return 6 * self.n_nonemb * tokens, head, head + 6 * CONTEXT * self.width * self.layers * tokens


SIZES = {
    "m0": Shape(16, 2, 2), "m1": Shape(24, 2, 2), "m2": Shape(32, 3, 2), "m3": Shape(48, 3, 3),
    "m4": Shape(64, 4, 4), "m5": Shape(96, 4, 6), "m6": Shape(128, 5, 8), "m7": Shape(192, 6, 6),
}
SHAPES_H = {
    "h84x1": Shape(84, 1, 6), "h60x2": Shape(60, 2, 4), "h48x3": Shape(48, 3, 3),
    "h36x5": Shape(36, 5, 2), "h28x9": Shape(28, 9, 2),
}
SIZES_G = {"m8": Shape(256, 8, 8), "m9": Shape(384, 10, 8), "m10": Shape(512, 12, 8)}
SHAPES = SIZES | SHAPES_H | SIZES_G
LADDER = tuple(int(MILLION * factor) for factor in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16))


@dataclass(frozen=True)
class Rate:
    """A peak learning rate: a number, or a rule over what block L found.

    ``law`` is the power law in N through block L's optima; ``best`` is the best grid point of one size at 1M tokens.
    """

    kind: str  # fixed, law or best
    factor: float = 1.0  # the rate itself when fixed, else what the rule's rate is multiplied with
    size: str = ""


LAW = Rate("law")


@dataclass(frozen=True)
class Member:
    """One model of a stack; ``tag`` tells it from the others, ``tokens`` is where its run ends."""

    tag: str
    seed: int
    rate: Rate
    tokens: int
    decay: float = 0.0


@dataclass(frozen=True)
class Job:
    """What is trained in one go.

    ``schedule``: constant (a trunk; ``branches`` are the token counts at which cooled branches end), cooled, linear0,
    cosine0 or cosine10. ``arm`` marks the runs of W that have a fixed number of steps. ``unique`` is the number of
    tokens that are read again and again, 0 where no text is repeated. ``trunk`` says whether the curve at constant rate is
    a run of the table too, or only the branches.
    """

    name: str
    block: str
    size: str
    schedule: str
    members: tuple[Member, ...]
    branches: tuple[int, ...] = ()
    batch: int = BATCH
    arm: str = ""
    probes: bool = False
    unique: int = 0
    trunk: bool = True

    @property
    def shape(self) -> Shape:
        """Width, layers and heads."""
        return SHAPES[self.size]

    @property
    def needs_rates(self) -> bool:
        """Whether a rate comes from block L, which must then be there first."""
        return any(member.rate.kind != "fixed" for member in self.members)

    def steps(self, tokens: int) -> int:
        """Optimiser steps in so many tokens, the last incomplete batch dropped."""
        return tokens // self.batch

    def segments(self) -> dict[str, tuple[Member, ...]]:
        """Return the parts that the job writes: name -> the members in it."""
        found: dict[str, tuple[Member, ...]] = {}
        for tokens in self.branches:
            reach = tuple(member for member in self.members if member.tokens >= tokens)
            if reach:
                found[f"cooled-{label(tokens)}"] = reach
        for tokens in sorted({member.tokens for member in self.members}) if self.trunk else ():
            ending = tuple(member for member in self.members if member.tokens == tokens)
            found[f"{self.schedule}-{label(tokens)}"] = ending
        return found

    def run(self, member: Member, segment: str) -> str:
        """Return the name of one curve, the same for ever and unique in the table."""
        parts = (self.block, self.size, member.tag, f"s{member.seed}", segment)
        return "-".join(part for part in parts if part)

    def trained_tokens(self) -> int:
        """Tokens that the job processes in training, all members and branches."""
        total = sum(member.tokens for member in self.members)
        return total + sum(int(COOLDOWN * b) for b in self.branches for member in self.members if member.tokens >= b)


def label(tokens: int) -> str:
    """Write a token count as in run names: 0.125M, 1M, 499712."""
    return f"{tokens / MILLION:g}M" if tokens % 1000 == 0 else str(tokens)


def unlabel(segment: str) -> tuple[str, int]:
    """Split the name of a segment into its schedule and its tokens: ``cooled-0.5M`` -> (cooled, 500000)."""
    schedule, _, tokens = segment.partition("-")
    return schedule, round(float(tokens[:-1]) * MILLION) if tokens.endswith("M") else int(tokens)


def _seeds(count: int, skip: int = 0) -> range:
    return range(FIRST_SEED + skip, FIRST_SEED + count)


def _learning_rate() -> Iterator[Job]:
    grid = {"3e-3": 3e-3, "1e-2": 1e-2, "3e-2": 3e-2, "1e-1": 1e-1, "3e-1": 3e-1}
    for size in ("m0", "m1", "m2", "m3", "m4"):
        top = MILLION if size == "m4" else 2 * MILLION
        branches = tuple(tokens for tokens in LADDER if tokens <= top)
        members = tuple(Member(f"lr{name}", FIRST_SEED, Rate("fixed", rate), top) for name, rate in grid.items())
        yield from _stacks(Job(f"L-{size}", "L", size, "constant", members, branches))


def _main_grid() -> Iterator[Job]:
    reach = {"m0": 16, "m1": 16, "m2": 16, "m3": 16, "m4": 8, "m5": 4, "m6": 4, "m7": 1}
    further = {"m0": (2, 4), "m1": (4, 4), "m2": (2, 4), "m3": (2, 4), "m4": (2, 4), "m5": (2, 1), "m6": (2, 1)}
    late = []
    for size, top in reach.items():
        count, short = further.get(size, (0, 0))
        members = [Member("", FIRST_SEED, LAW, top * MILLION)]
        members += [Member("", FIRST_SEED + 1 + k, LAW, short * MILLION) for k in range(count)]
        branches = tuple(tokens for tokens in LADDER if tokens <= top * MILLION)
        jobs = list(_stacks(Job(f"M-{size}", "M", size, "constant", tuple(members), branches, probes=True)))
        yield jobs[0]  # the first seed of every size before the others, so that a part of the table is of use
        late += jobs[1:]
    yield from late


def _learning_rate_seeds() -> Iterator[Job]:
    """Three further seeds, then seven more: three left the gap of the two rates at m4 as uncertain as it is large."""
    for name, seeds in (("seeds", _seeds(4, 1)), ("more-seeds", _seeds(11, 4))):
        for size in ("m0", "m1", "m2", "m3", "m4"):
            members = tuple(
                Member(f"best-{best}", seed, Rate("best", size=best), MILLION) for best in ("m0", "m3") for seed in seeds
            )
            yield from _stacks(Job(f"L-{size}-{name}", "L", size, "cooled", members))


def _schedules() -> Iterator[Job]:
    for size, count in (("m1", 5), ("m3", 1)):
        for schedule in ("cosine10", "linear0", "cosine0"):
            for millions in (1, 2, 4):
                members = tuple(Member("", seed, LAW, millions * MILLION) for seed in _seeds(count))
                yield from _stacks(Job(f"S-{size}-{schedule}-{millions}M", "S", size, schedule, members))


def _weight_decay() -> Iterator[Job]:
    """Fixed tokens, then a fixed 976 steps; at 1,024 tokens a step both arms are the same run, trained once."""
    steps = MILLION // BATCH
    for seed in _seeds(4):
        for batch in (512, 1024, 2048, 4096):
            members = tuple(Member(f"b{batch}-wd{wd:g}", seed, LAW, MILLION, wd) for wd in (0, 0.05, 0.15, 0.5, 1.5, 5))
            yield Job(f"W-b{batch}-s{seed}", "W", "m1", "linear0", members, batch=batch)
    for seed in _seeds(4):
        for batch in (512, 2048, 4096):
            members = tuple(Member(f"b{batch}-wd{wd:g}", seed, LAW, steps * batch, wd) for wd in (0, 0.15, 0.5, 1.5))
            yield Job(f"W-b{batch}-{steps}steps-s{seed}", "W", "m1", "linear0", members, batch=batch, arm="fixed steps")


def _batch() -> Iterator[Job]:
    """Rates follow the square root of the batch, times a half, one and two."""
    for size, count in (("m1", 1), ("m0", 1), ("m1", 3)):
        for batch in (256, 512, 1024, 2048, 4096, 8192, 128):  # 128, one window, came after 256 was found too large
            root = (batch / BATCH) ** 0.5
            if count == 1:
                top = 4 if size == "m1" else 1
                branches = tuple(tokens for tokens in LADDER if 0.5 * MILLION <= tokens <= top * MILLION)
                members = tuple(
                    Member(f"b{batch}-x{factor:g}", FIRST_SEED, Rate("law", root * factor), top * MILLION)
                    for factor in (0.5, 1.0, 2.0)
                )
                yield Job(f"B-{size}-b{batch}", "B", size, "constant", members, branches, batch)
            else:
                members = tuple(Member(f"b{batch}-x1", seed, Rate("law", root), MILLION) for seed in _seeds(3, 1))
                yield Job(f"B-{size}-b{batch}-seeds", "B", size, "constant", members, (MILLION,), batch)


def _shape() -> Iterator[Job]:
    for seed in _seeds(8):  # with four, the difference between two shapes was uncertain by as much as it is large
        for name in SHAPES_H:
            member = Member("", seed, Rate("law", size="m3"), MILLION)
            yield Job(f"H-{name}-s{seed}", "H", name, "cooled", (member,))


def _ladder() -> Iterator[Job]:
    """Three seeds at the law's rate and three other rates, which end earlier for the two largest models."""
    for size in ("m10", "m9", "m8", "m7", "m6", "m5", "m4", "m3"):  # the longest first
        rates = 4 if size in ("m9", "m10") else 8
        members = [Member("x1", seed, LAW, 8 * MILLION) for seed in _seeds(3)]
        members += [Member(f"x{x:g}", FIRST_SEED, Rate("law", x), rates * MILLION) for x in (0.25, 0.5, 2)]
        branches = tuple(tokens for tokens in LADDER if tokens <= 8 * MILLION)
        yield Job(f"G-{size}", "G", size, "constant", tuple(members), branches, trunk=False)


def _repeated() -> Iterator[Job]:
    for size in ("m7", "m5", "m3", "m1"):
        for unique in (MILLION // 8, MILLION // 2):
            members = tuple(Member(f"u{label(unique)}", seed, LAW, 10 * unique) for seed in _seeds(3))
            branches = tuple(unique * epochs for epochs in (1, 2, 4, 10))
            name = f"R-{size}-u{label(unique)}"
            yield Job(name, "R", size, "constant", members, branches, trunk=False, unique=unique)


def _tuned() -> Iterator[Job]:
    """Rates below the law's, which block G found too high from m5 up, at the two largest budgets."""
    for size in ("m10", "m9", "m8", "m7", "m6", "m5", "m4", "m3"):
        members = [Member(f"x{x:g}", FIRST_SEED, Rate("law", x), 16 * MILLION) for x in (0.125, 0.25, 0.5)]
        members.append(Member("x0.25", FIRST_SEED + 1, Rate("law", 0.25), 16 * MILLION))
        yield Job(f"T-{size}", "T", size, "constant", tuple(members), (8 * MILLION, 16 * MILLION), trunk=False)


def _tuned_small() -> Iterator[Job]:
    """What M and T lack of the five smallest sizes: a rate below the law's at m0 to m2, and the law's to 16M at m4."""
    branches = tuple(tokens for tokens in LADDER if tokens >= MILLION)
    for size, tag in (("m4", "x1"), ("m2", "x0.5"), ("m1", "x0.5"), ("m0", "x0.5")):  # the longest first
        member = Member(tag, FIRST_SEED, Rate("law", float(tag[1:])), 16 * MILLION)
        yield Job(f"U-{size}", "U", size, "constant", (member,), branches, trunk=False)


def _stacks(job: Job) -> Iterator[Job]:
    """Split a job where training its members one after the other is as fast: above size m1 on one CPU thread."""
    if job.size in ("m0", "m1") or len(job.members) == 1:
        yield job
        return
    for member in job.members:
        name = "-".join(part for part in (job.name, member.tag, f"s{member.seed}") if part)
        branches = tuple(tokens for tokens in job.branches if tokens <= member.tokens)
        yield replace(job, name=name, members=(member,), branches=branches)


def jobs() -> list[Job]:
    """Return every job in the order of work: first the sweep that gives the learning rates."""
    parts = (
        _learning_rate, _main_grid, _learning_rate_seeds, _schedules, _weight_decay, _batch, _shape,
        _ladder, _repeated, _tuned, _tuned_small,
    )
    return [job for part in parts for job in part()]


def runs(chosen: list[Job]) -> list[str]:
    """Return the names of all curves of these jobs."""
    return [job.run(member, name) for job in chosen for name, members in job.segments().items() for member in members]
