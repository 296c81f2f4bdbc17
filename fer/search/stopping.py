"""What a run says that a search has stopped early."""

from dataclasses import replace

from fer.study.lease import LeaseTaken
from fer.study.run_folder import RunFolder


def say_stopped(folder: RunFolder) -> None:
    """Let a run that nobody works on say that it was stopped, where it could go on."""
    status = folder.status()
    if folder.trained or folder.gave_up or status.state == "stopped":
        return
    try:
        folder.lease.take()
    except LeaseTaken:  # another search or a study trains it on
        return
    folder.say(replace(status, state="stopped"))
    folder.lease.release()
