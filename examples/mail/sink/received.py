"""Prints what the sink received: a JSON object a message, a line each."""

import email.policy
import json
import mailbox
from email.parser import BytesParser

parser = BytesParser(policy=email.policy.default)
box = mailbox.Maildir("/mail/box", create=False)
for key in box.keys():  # noqa: SIM118 - a mailbox iterates over messages
    message = parser.parsebytes(box.get_bytes(key))
    body = message.get_body()
    text = body.get_content() if body else ""
    print(json.dumps({"to": message["To"], "subject": message["Subject"], "text": text.removesuffix("\n")}))
