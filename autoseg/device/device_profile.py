"""The profile of a device: schema of devices/*.yaml, and profiles from `user@host`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from autoseg.core.errors import InputError
from autoseg.core.yaml_files import find, load

Provider = Literal["CPU", "XNNPACK", "ACL", "CUDA", "TensorRT"]
Core = Annotated[int, Field(ge=0, lt=4096)]

ONNXRUNTIME_NAMES: dict[str, str] = {
    "CPU": "CPUExecutionProvider",
    "XNNPACK": "XnnpackExecutionProvider",
    "ACL": "ACLExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "TensorRT": "TensorrtExecutionProvider",
}
SSH_ONLY_FIELDS = ("host", "port", "user", "key_file", "use_agent", "python")


class Profile(BaseModel):
    """How a device is connected and timed.

    A file without `name` is named by its stem. `affinity`: cores that the timed process is pinned
    to. `providers`: onnxruntime's, in the order of preference. `runs`: the minimum of a confirming
    measurement. For a board, None in `port`, `user` or `key_file` means the value of
    ~/.ssh/config, else ssh's default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", min_length=1)
    description: str = ""
    kind: Literal["local", "ssh"]
    host: str | None = Field(default=None, validate_default=True)
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str | None = None
    key_file: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    use_agent: bool = True
    python: str | None = Field(default=None, min_length=1)
    threads: int = Field(default=1, ge=1, le=256)
    affinity: list[Core] | None = Field(default=None, min_length=1)
    providers: list[Provider] = Field(default=["CPU"], min_length=1)
    warmup_s: float | None = Field(default=None, ge=0, le=600)
    runs: int | None = Field(default=None, ge=10, le=1_000_000)
    max_temperature_c: float | None = Field(default=None, ge=20, le=120)
    channel_step: int = Field(default=8, ge=1, le=64)

    @property
    def provider_names(self) -> list[str]:
        """The providers by onnxruntime's names, in order."""
        return [ONNXRUNTIME_NAMES[name] for name in self.providers]

    @field_validator(*SSH_ONLY_FIELDS)
    @classmethod
    def _only_for_boards(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind")
        if kind == "local" and value is not None:
            raise ValueError("is only for kind: ssh; remove it, or set kind: ssh")
        if kind == "ssh" and info.field_name == "host" and value is None:
            raise ValueError("kind: ssh needs a host: the board's name or address; add it")
        return value

    @field_validator("host", "user")
    @classmethod
    def _is_one_word(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A leading dash would be an option for ssh, and maybe for other programs.
        if value is not None and not re.fullmatch(r"[^\s/@\0-][^\s/@\0]{0,252}", value):
            what = "a host's name or address" if info.field_name == "host" else "a user's name"
            raise ValueError(f"must be {what} without spaces, slashes and @, got {value!r}")
        # As ssh from 9.6 on: a command of the ssh config (`Match exec`) may hold it as %h or %r.
        if value and (re.search(r"""['`"$;&<>|(){}]|\\$""", value) or not value.isprintable()):
            rule = "must be without characters that control a shell or a terminal"
            raise ValueError(f"{rule}, got {value!r}")
        return value

    @field_validator("affinity", mode="before")
    @classmethod
    def _one_core_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("affinity", "providers")
    @classmethod
    def _is_unique(cls, value: list[Any] | None) -> list[Any] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError(f"must not have duplicates, got {value}; remove them")
        return value

    @field_validator("affinity")
    @classmethod
    def _a_core_for_each_thread(
        cls, value: list[int] | None, info: ValidationInfo
    ) -> list[int] | None:
        threads = info.data.get("threads", 1)
        if value is not None and len(value) < threads:
            rule = f"must name a core for each of the {threads} threads, got {value}"
            raise ValueError(f"{rule}; add cores, or remove the field")
        return value

    @field_validator("providers")
    @classmethod
    def _cpu_comes_last(cls, value: list[Provider]) -> list[Provider]:
        if "CPU" in value[:-1]:
            raise ValueError(f"CPU must come last, as it runs every node, got {value}")
        return value


def write_profile(profile: Profile, path: Path) -> None:
    """Writes a profile as a file that `load_profile` reads, with its channel step.

    Other fields with default values are left out. Raises InputError for a file that exists
    already, or cannot be written.
    """
    fields = profile.model_dump(mode="json", exclude_defaults=True)
    # Always written: it was found by a probe, even where it equals the default.
    fields["channel_step"] = profile.channel_step
    # Every JSON value is YAML.
    lines = [
        f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()
    ]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(lines)
    except FileExistsError as error:
        raise InputError(f"{path} exists already; remove it, or give another name") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def load_profile(device: str | Path) -> Profile:
    """The profile of a shipped name, of a file, or of `user@host[:port]`.

    Raises InputError for an unknown name, and for a faulty file with all its faults.
    """
    text = str(device)
    if "@" in text and not Path(text).expanduser().exists():
        return at_address(text)
    try:
        path = find("devices", device)
    except InputError as error:
        unknown = str(error).startswith("unknown device")
        raise InputError(f"{error}, or user@host") if unknown else error from None
    profile = load(path, Profile)
    changed: dict[str, Any] = {} if profile.name else {"name": path.stem}
    if profile.key_file:  # beside the profile: commands are given in other folders, too
        changed["key_file"] = path.parent / profile.key_file
    return profile.model_copy(update=changed)


def at_address(text: str) -> Profile:
    """A board from `user@host` or `user@host:port`; an IPv6 address with port is in brackets.

    Raises InputError for another form.
    """
    user, _, rest = text.rpartition("@")
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:]*))(?::(\w*))?", rest)
    # Several colons without brackets are an IPv6 address, as in ssh.
    host, port = (match[1] or match[2], match[3]) if match else (rest, None)
    try:
        number = None if port is None else int(port)
        return Profile.model_validate(
            {"name": text, "kind": "ssh", "user": user, "host": host, "port": number}
        )
    except ValueError as error:
        rule = "must be user@host or user@host:port with a port between 1 and 65535"
        raise InputError(f"device {text!r} {rule}, such as pi@10.0.0.7") from error
