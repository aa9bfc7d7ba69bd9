"""The records of the register: papers, claims, rules, chapters. They know what they may hold, not where it is kept.

A value that does not fit raises pydantic's ValidationError; ``scalebook.register`` turns that into a message that
names file, paper, claim and field.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictInt, StringConstraints, Tag
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from scalebook.errors import UserError

Profile = Literal["quick", "full", "large"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Count = Annotated[StrictInt, Field(ge=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


def refuse(field: str, given: object, allowed: str) -> PydanticCustomError:
    """Return the error of a field whose value is wrong in a way that a type cannot say."""
    return PydanticCustomError("register", "{allowed}", {"field": field, "given": repr(given), "allowed": allowed})


def bounds_text(low: float | None, high: float | None) -> str:
    """Return bounds in words: ``0.8 to 1.2``, ``at least 0.8``, ``at most 1.2``, ``exactly 3``."""
    if low is not None and high is not None:
        return f"exactly {low:.10g}" if low == high else f"{low:.10g} to {high:.10g}"
    return f"at least {low:.10g}" if low is not None else f"at most {high:.10g}"


class Model(BaseModel):
    """A frozen record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {name for key, field in cls.model_fields.items() for name in (key, field.alias) if name}
            for key in data:
                if key not in known:
                    shown = sorted(field.alias or name for name, field in cls.model_fields.items())
                    raise refuse(str(key), "an unknown key", f"the keys {', '.join(shown)}")
        return data


class Bounds(Model):
    """An accepted range, bounds included; an open end is left out."""

    low: Number | None = None
    high: Number | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Bounds:
        if self.low is None and self.high is None:
            raise refuse("low, high", "neither", "at least one bound")
        if None not in (self.low, self.high) and self.low > self.high:
            raise refuse("low, high", (self.low, self.high), "low at most high")
        return self

    def text(self) -> str:
        """Return the range in words."""
        return bounds_text(self.low, self.high)


class Condition(Bounds):
    """One measure's 95 % interval must lie inside the bounds; judged in the named profiles only, else in all."""

    measure: Name
    profiles: tuple[Profile, ...] | None = Field(default=None, min_length=1)

    def applies(self, profile: str) -> bool:
        """Tell whether this profile judges the condition; what full judges, large judges too."""
        return self.profiles is None or profile in self.profiles or (profile == "large" and "full" in self.profiles)


def _part_tag(part: Any) -> str:
    grouped = isinstance(part, Rule) or (isinstance(part, Mapping) and ("all" in part or "any" in part))
    return "rule" if grouped else "condition"


Part = Annotated[Annotated[Condition, Tag("condition")] | Annotated["Rule", Tag("rule")], Discriminator(_part_tag)]


class Rule(Model):
    """``all`` or ``any`` of its parts: conditions, or (one deep) further rules made of conditions."""

    all: tuple[Part, ...] | None = Field(default=None, min_length=1)
    any: tuple[Part, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_kind_one_deep(self) -> Rule:
        if (self.all is None) == (self.any is None):
            raise refuse("all, any", "both" if self.all else "neither", "exactly one of the two")
        for part in self.parts:
            if isinstance(part, Rule) and any(isinstance(inner, Rule) for inner in part.parts):
                raise refuse(self.kind, "a rule in a rule in a rule", "nesting one deep: conditions in the inner rule")
        return self

    @property
    def kind(self) -> Literal["all", "any"]:
        """``all`` or ``any``."""
        return "any" if self.all is None else "all"

    @property
    def parts(self) -> tuple[Condition | Rule, ...]:
        """The conditions and inner rules, in order."""
        return self.all or self.any or ()

    def conditions(self) -> list[Condition]:
        """Return every condition, inner rules opened, in order."""
        return [c for part in self.parts for c in (part.conditions() if isinstance(part, Rule) else [part])]

    def measures(self) -> set[str]:
        """Return the names of the judged measures."""
        return {condition.measure for condition in self.conditions()}


class Figure(Model):
    """A figure that the paper gives, where it stands and how sure we are of it."""

    what: Text
    value: Text
    where: Text
    sure: Literal["printed", "read by eye", "abstract", "second hand", "memory", "derived", "unknown"]


class Control(Model):
    """A measure from a run without the cause; its interval must lie outside the bounds."""

    measure: Name
    must_fail: Bounds


class Replicates(Model):
    """How many units a profile measures; ``null`` where the claim is not run there; large defaults to full."""

    quick: Count | None
    full: Count | None
    large: Count | None = None

    def at(self, profile: str) -> int | None:
        """Return the number of units in this profile."""
        if profile not in ("quick", "full", "large"):
            raise UserError(f"Unknown profile {profile!r}; the profiles are quick, full and large.")
        return self.full if profile == "large" and self.large is None else getattr(self, profile)


class PaperValue(Bounds):
    """The paper's own number for one of our measures, with its interval where it gives one."""

    value: Number
    where: Text

    @model_validator(mode="after")
    def _ordered(self) -> PaperValue:
        inside = (self.low is None or self.low <= self.value) and (self.high is None or self.value <= self.high)
        if (self.low is None) != (self.high is None) or not inside:
            raise refuse("low, high", (self.low, self.high), f"both or neither, and {self.value:g} between them")
        return self


class Amendment(Model):
    """A change of a registered field: what it was, what it is now, when and why."""

    date: datetime.date
    field: Text
    was: Any = Field(alias="from")
    now: Any = Field(alias="to")
    why: Text


class Claim(Model):
    """One claim of a paper and the rule that decides it."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[A-Za-z0-9-]+$")]
    says: Text
    fidelity: Literal["exact", "scaled", "mechanism", "reanalysis"]
    measure: Text
    rule: Text
    measures: dict[Name, Text] = Field(min_length=1)
    conditions: Rule
    reported: tuple[Name, ...] = ()
    timings: tuple[Name, ...] = ()
    exponents: tuple[Name, ...] = ()
    unit: Text
    replicates: Replicates
    control: Control
    blind: StrictBool
    table: Text | None = None
    derivations: dict[str, Text] = {}
    paper_values: dict[Name, PaperValue] = {}
    registered: datetime.date
    amended: tuple[Amendment, ...] = ()

    @model_validator(mode="after")
    def _known_measures(self) -> Claim:
        named = [("conditions", name) for name in sorted(self.conditions.measures())]
        named += [("control", self.control.measure), *(("reported", name) for name in self.reported)]
        used = {name for _, name in named}
        named += [(field, name) for field in ("timings", "exponents", "paper_values") for name in getattr(self, field)]
        for field, name in named:
            if name not in self.measures:
                raise refuse(field, name, f"a measure of this claim: {', '.join(self.measures)}")
        for name in self.measures:
            if name not in used:
                raise refuse("measures", name, "measures that the conditions, `reported` or the control name")
        ranges = [(condition.measure, condition) for condition in self.conditions.conditions()]
        ranges.append((self.control.measure, self.control.must_fail))
        ends = [(name, given, end) for name, given in ranges for end in ("low", "high")]
        bounds = {f"{name} {end}" for name, given, end in ends if getattr(given, end) is not None}
        for key in self.derivations:
            if key not in bounds:
                raise refuse("derivations", key, f"a bound of this claim: {', '.join(sorted(bounds))}")
        return self


class Paper(Model):
    """A paper: what it is, what it claims, and the figures it gives."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    authors: Text
    year: Annotated[StrictInt, Field(ge=1800, le=2100)]
    arxiv: Annotated[str, StringConstraints(pattern=r"^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7})$")] | None
    provenance: Text
    idea: Text
    formulas: tuple[Text, ...]
    figures: tuple[Figure, ...]
    claims: tuple[Claim, ...] = Field(min_length=1)


class ChapterRegister(Model):
    """The papers of one chapter with their claims."""

    chapter: Slug
    title: Text
    story: Text
    papers: tuple[Paper, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> ChapterRegister:
        seen: set[str] = set()
        for name in [p.key for p in self.papers] + [c.id for p in self.papers for c in p.claims]:
            if name in seen:
                raise refuse("claims" if "." in name else "papers", name, "every key and id once")
            seen.add(name)
            if "." in name and not name.startswith(f"{self.chapter}."):
                raise refuse("id", name, f"ids that start with '{self.chapter}.'")
        return self

    def claims(self) -> Iterator[tuple[Paper, Claim]]:
        """Yield every claim with its paper, in order."""
        return ((paper, claim) for paper in self.papers for claim in paper.claims)


class ChapterEntry(Model):
    """What ``data/chapters.yml`` says of one chapter."""

    slug: Slug
    title: Text
    question: Annotated[str, StringConstraints(pattern=r"\?$")]
    summary: Text
    level: Literal["introductory", "intermediate", "advanced"]
    minutes: Annotated[StrictInt, Field(ge=5, le=90)]
    needs: tuple[Slug, ...] = ()


class ChapterInfo(ChapterEntry):
    """A chapter's place in the book; ``order`` counts from 1 over all parts."""

    part: Text
    order: Count
