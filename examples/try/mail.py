from pydantic import BaseModel

from tubeherd import executor

TEXTS = {"hello": "Hello!"}


class Mail(BaseModel):
    to: str
    text: str


@executor("mail")
def send(mail: Mail) -> None:
    print(f"to {mail.to}: {TEXTS[mail.text]}")
