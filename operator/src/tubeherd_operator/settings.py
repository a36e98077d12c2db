"""Every setting of the operator: the variable `TUBEHERD_OPERATOR_` and its name."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class OperatorSettings(BaseSettings):
    """What an installation of the operator is told; times in seconds."""

    model_config = SettingsConfigDict(env_prefix="TUBEHERD_OPERATOR_", extra="ignore", env_ignore_empty=True)

    default_image: str = Field(min_length=1)
    """Image of the pools that name none."""
    default_server: str | None = None
    """host:port of beanstalkd for the pools that name none."""
    poll_interval: float = Field(1.0, gt=0)
    """How often the tubes of each beanstalkd are counted."""
    health: str = "http://0.0.0.0:8080/healthz"
    """Where the liveness probe is answered."""
