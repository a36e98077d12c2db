"""Delivers mails: it writes them into the file `mails` of the folder `outbox`, which has to be there."""

from pathlib import Path

from pydantic import BaseModel

from tubeherd import executor


class Mail(BaseModel):
    to: str
    text: str


@executor("mail", retry_delays=["1s"])
def send(mail: Mail) -> None:
    with Path("outbox", "mails").open("a") as mails:
        print(f"to {mail.to}: {mail.text}", file=mails)
