"""Sources of modules of executors that several tests run; what only one test needs stands next to it."""

from typing import Final

NOTING: Final = """
from traces import note
from tubeherd import executor
@executor("mail")
def mail(payload): note(payload)
"""
"""Of `mail`: notes its payload."""

WAITING: Final = """
from traces import note, wait_for
from tubeherd import Job, executor
@executor("mail")
def mail(payload, job: Job):
    note(f"begun {payload} attempt {job.attempt} lost {job.lost_deliveries}")
    wait_for("go")
    note(f"done {payload}")
"""
"""Of `mail`: notes that it has begun, with attempt and lost deliveries, waits for "go", and notes that it is done."""

WAITING_ASYNC: Final = """
import asyncio
from traces import FOLDER, note
from tubeherd import executor
@executor("mail")
async def mail(payload):
    note("begun")
    while not (FOLDER / "go").exists():
        await asyncio.sleep(0.1)
"""
"""Of `mail`: a coroutine that notes that it has begun, and waits for "go"."""

CODE: Final = """
import ctypes, glob, os, re, shutil, signal, subprocess, sys, threading, time
from traces import note, wait_for
from tubeherd import Job, executor
@executor("code")
def code(payload: bytes, job: Job): exec(payload)
"""
"""Of `code`: runs its payload as Python, in which `note`, `wait_for` and `job` are known."""
