"""submitit's executor for this machine, whose processes find no modules in the current folder."""

import shlex

import submitit
from submitit.local.local import LocalJob

from fer.safe_path import python, safe_children


class LocalExecutor(submitit.LocalExecutor):
    """Starts the controller and the tasks of a job with the path and the code of this process."""

    @property
    def _submitit_command_str(self) -> str:
        return shlex.join(python("-m", "submitit.core._submit", str(self.folder)))

    def _submit_command(self, command: str) -> LocalJob:
        with safe_children():
            return super()._submit_command(command)
