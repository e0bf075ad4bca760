"""The profile of a device: what devices/*.yaml may say."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Profile(BaseModel):
    """How to time on one machine. `affinity` is the core that the timed process is bound to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    description: str = ""
    kind: Literal["local"]
    threads: int = Field(default=1, ge=1, le=256)
    affinity: int | None = Field(default=None, ge=0)
    provider: str = "CPUExecutionProvider"
