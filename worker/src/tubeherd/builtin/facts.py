"""What a command or a URL is told about its job: in variables of the environment, or in headers."""

from tubeherd.job import Job

VARIABLES: dict[str, str] = {name: f"TUBEHERD_JOB_{name.upper()}" for name in Job._fields}
"""By the name of a fact, the variable that holds it."""
HEADERS: dict[str, str] = {name: f"Tubeherd-Job-{name.replace('_', '-').title()}" for name in Job._fields}
"""By the name of a fact, the header that holds it."""


def variables(job: Job) -> dict[str, str]:
    """Return the variables of a job."""
    return {variable: str(fact) for variable, fact in zip(VARIABLES.values(), job, strict=True)}


def headers(job: Job) -> dict[str, str]:
    """Return the headers of a job."""
    return {header: str(fact) for header, fact in zip(HEADERS.values(), job, strict=True)}


def text_of_bytes(data: bytes) -> str:
    """Return what a program or server has written as text, without characters that could control a terminal."""
    text = data.decode(errors="replace")
    return "".join(one if one.isprintable() or one in "\n\t" else " " for one in text).strip()
