"""What `helm test` runs: a pool has the executor, and a pod puts a job for it and waits until the job is done."""

import json
import os
import socket
import sys
import time
import uuid

from tubeherd import QueueManager, executor

SERVER = os.environ["TUBEHERD_SERVER"]
TUBE = os.environ["HELM_TEST_TUBE"]
ANSWERS = f"{TUBE}.answers"
LIMIT_SECONDS = float(os.environ.get("HELM_TEST_SECONDS", "240"))


@executor(TUBE)
def answer(question: str) -> None:
    """Show that a job is done, and by which pod."""
    with QueueManager(SERVER) as queue:
        queue.put(ANSWERS, {"question": question, "pod": socket.gethostname()})


def main() -> None:
    """Put a job, and exit with 1 if no pod of the pool does it."""
    question = str(uuid.uuid4())
    with QueueManager(SERVER, ANSWERS) as queue:
        job = queue.put(TUBE, question)
        pod = wait_for_answer(queue, question)
        if pod is None:
            queue.delete(jobs=[job])
            sys.exit(f"job {job} was not done within {LIMIT_SECONDS:.0f} s: the conditions of the pool say why")
    print(f"job {job} was done by pod {pod}")


def wait_for_answer(queue: QueueManager, question: str) -> str | None:
    """Return the pod that has answered, or None after the limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if found := queue.get(left):
            queue.delete(found)  # also an answer for which an earlier test did not wait
            said = json.loads(found.body or b"{}")
            if said.get("question") == question:
                return str(said["pod"])
    return None


if __name__ == "__main__":
    main()
