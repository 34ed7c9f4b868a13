"""The mission file: grammar, bounds, and one sentence for each fault."""

from __future__ import annotations

import difflib
import re
import reprlib
import unicodedata
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)
from pydantic_core import PydanticCustomError

MAX_MISSION_BYTES = 64 * 1024
MAX_DAY_S = 86400.0
START = "mission start"
"""Name of the mission's start in the robot's memory."""
MAX_ROUNDS = 10_000

Otherwise: TypeAlias = Literal["skip", "stop", "return"]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=MAX_DAY_S)]
_FILE = re.compile(r"\w[\w .-]{0,95}\.(jpg|jpeg|png)")


class MissionError(ValueError):
    """The mission cannot be used; the message names file, key, value and remedy."""


def _fault(sentence: str) -> PydanticCustomError:
    """Raised by a validator to have its sentence reported as is, see `_first_fault`."""
    return PydanticCustomError("own_words", "{sentence}", {"sentence": sentence})


def _checked_place(name: str) -> str:
    name = name.strip()
    if not name:
        raise _fault("it is empty; give the place's name")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise _fault("it contains control characters; write the name on one line, without tabs")
    if name == START:
        raise _fault(
            "this name is reserved for the step `return`; use that, or choose another name"
        )
    return name


def _checked_file(name: str) -> str:
    if not _FILE.fullmatch(name):
        raise _fault(
            "it is not a plain file name; give one such as hall.jpg (.jpg or .png, no folder)"
        )
    return name


Place: TypeAlias = Annotated[str, Field(max_length=64), AfterValidator(_checked_place)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class _Step(_Section):
    """Options of every step. `retries` and `otherwise` default to the mission's."""

    verb: ClassVar[str]

    retries: int | None = Field(default=None, ge=0, le=20)
    otherwise: Otherwise | None = None


class Go(_Step):
    """Drive to a remembered place."""

    verb = "go"
    go: Place
    timeout_s: Seconds = 120.0

    @property
    def words(self) -> str:
        return f"go to {self.go}"


class Look(_Step):
    """Take a picture at a place, or where the robot is (None)."""

    verb = "look"
    look: Place | None = None
    save: Annotated[str, AfterValidator(_checked_file)] | None = None
    timeout_s: Seconds = 120.0

    @property
    def file(self) -> str:
        """The picture's file name; characters that a file name may not have are replaced."""
        if self.save is not None:
            return self.save
        return re.sub(r"[^\w-]+", "_", self.look or "view").strip("_") + ".jpg"

    @property
    def words(self) -> str:
        return f"look at {self.look}" if self.look is not None else "look around here"


class Explore(_Step):
    """Explore for this many seconds, within `radius_m` of here (0: no bound)."""

    verb = "explore"
    explore: Seconds
    radius_m: float = Field(default=0.0, ge=0, le=1000)

    @property
    def words(self) -> str:
        bound = f" within {self.radius_m:g} m" if self.radius_m else ""
        return f"explore for {self.explore:g} s{bound}"


class Remember(_Step):
    """Name the place where the robot is."""

    verb = "remember"
    remember: Place

    @property
    def words(self) -> str:
        return f"remember this place as {self.remember}"


class Wait(_Step):
    """Wait for this many seconds."""

    verb = "wait"
    wait: Seconds

    @property
    def words(self) -> str:
        return f"wait for {self.wait:g} s"


class Return(_Step):
    """Drive to where the mission started."""

    verb = "return"
    back: Literal[True] | None = Field(default=None, alias="return")
    timeout_s: Seconds = 120.0

    @property
    def words(self) -> str:
        return "return to the start"


Step: TypeAlias = Go | Look | Explore | Remember | Wait | Return
KINDS: dict[str, type[Step]] = {
    kind.verb: kind for kind in (Go, Look, Explore, Remember, Wait, Return)
}
_VERBS = ", ".join(KINDS)


def _repeat(raw: object) -> int | Literal["forever"]:
    if raw == "forever":
        return "forever"
    if type(raw) is not int or not 1 <= raw <= MAX_ROUNDS:
        raise _fault(f"a whole number from 1 to {MAX_ROUNDS} is expected, or forever")
    return raw


def _step(raw: object) -> Step:
    """A step from YAML: a verb alone, or a verb with its object, plus options."""
    content = {raw: None} if isinstance(raw, str) else raw
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _fault("a step is one of the verbs " + _VERBS + ", as in `- go: kitchen`")
    verbs = [key for key in content if key in KINDS]
    if len(verbs) > 1:
        raise _fault(f"it has the verbs {' and '.join(verbs)}; make each a separate step")
    if not verbs:
        near = [match for key in content for match in difflib.get_close_matches(key, KINDS, 1)]
        remedy = f"did you mean {near[0]!r}" if near else f"the verbs are {_VERBS}"
        raise _fault(f"it has no verb; {remedy}")
    return KINDS[verbs[0]].model_validate(content)


class Mission(_Section):
    """Steps that are carried out in order, for one or more rounds.

    Attributes:
        name: for logs and displays.
        repeat: rounds, or "forever".
        retries: how often a failed step is retried.
        otherwise: what follows when the retries are used up: the next step (skip), the end of the
            mission (stop), or driving back to the start and then the end (return).
        steps: of one round.
    """

    name: str = Field(min_length=1, max_length=64)
    repeat: Annotated[int | Literal["forever"], PlainValidator(_repeat)] = 1
    retries: int = Field(default=0, ge=0, le=20)
    otherwise: Otherwise = "stop"
    steps: list[Annotated[Step, PlainValidator(_step)]] = Field(min_length=1, max_length=200)

    @classmethod
    def load(cls, path: str | Path) -> Mission:
        """Read and check a mission.

        Raises:
            MissionError: the file is missing, too large or not YAML, or a value is wrong.
        """
        path = Path(path)
        content = _content(path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise MissionError(f"{path}: {_first_fault(error)}") from error

    def retries_of(self, step: Step) -> int:
        """How often this step is retried."""
        return self.retries if step.retries is None else step.retries

    def otherwise_of(self, step: Step) -> Otherwise:
        """What follows when the retries of this step are used up."""
        return step.otherwise or self.otherwise

    @property
    def rounds(self) -> int:
        """Number of rounds; 0 is forever."""
        return 0 if self.repeat == "forever" else int(self.repeat)

    @property
    def needed(self) -> list[str]:
        """Places that must be known before the start: those of steps that may not be skipped."""
        needed: list[str] = []
        made: set[str | None] = {None}
        for step in self.steps:
            if isinstance(step, Remember):
                made.add(step.remember)
            place = step.go if isinstance(step, Go) else getattr(step, "look", None)
            if place not in (*made, *needed) and self.otherwise_of(step) != "skip":
                needed.append(str(place))
        return needed

    @property
    def returns(self) -> bool:
        """Whether the robot must remember where the mission started."""
        return any(
            isinstance(step, Return) or self.otherwise_of(step) == "return" for step in self.steps
        )


class _Loader(yaml.SafeLoader):
    """Like yaml.SafeLoader, but refuses duplicate keys: one would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                problem=f"the key '{twice}' is given twice; start another step with '- '",
                problem_mark=node.start_mark,
            )
        return super().construct_mapping(node, deep)


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MISSION_BYTES + 1)
    except OSError as error:
        raise MissionError(
            f"{path}: {error.strerror or error}; give a file such as config/missions/patrol.yaml"
        ) from error
    if len(data) > MAX_MISSION_BYTES:
        raise MissionError(
            f"{path}: larger than {MAX_MISSION_BYTES} bytes; this is not a mission file"
        )
    try:
        content = yaml.load(data.decode("utf-8"), _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise MissionError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    except RecursionError:
        raise MissionError(f"{path}: nested too deeply; this is not a mission file") from None
    if not isinstance(content, dict):
        raise MissionError(
            f"{path}: expected keys and values (name, steps ...), found {type(content).__name__}"
        )
    return content


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where, key = _location(fault["loc"])
    value = reprlib.repr(fault["input"])
    remedy = fault["msg"][0].lower() + fault["msg"][1:]
    if fault["type"] == "missing":
        return f"{where}key '{key}' is missing; add it (docs/missions.md shows every key)"
    if fault["type"] == "extra_forbidden":
        return f"{where}key '{key}' is unknown; remove it or correct its spelling"
    if fault["type"] == "string_type":
        empty = fault["input"] is None
        remedy = f"text is expected; {'give one' if empty else 'put it in quotes'}"
    subject = f"{where}key '{key}' has the value {value}" if key else f"{where}{value}"
    return f"{subject}: {remedy}"


def _location(loc: tuple[int | str, ...]) -> tuple[str, str]:
    """Location of a fault as ("step 3: ", "timeout_s")."""
    if len(loc) > 1 and loc[0] == "steps":
        return f"step {int(loc[1]) + 1}: ", ".".join(map(str, loc[2:3]))
    return "", str(loc[0]) if loc else ""
