"""Parents of toy runs, trained once a session: a test that needs one has a copy of its folder.

The name of a run folder has its run id, so whatever changes the numbers makes another parent.
"""

import shutil

from conftest import once

from fer.config.paths import data_root, home
from fer.study.expand import Run
from fer.study.run_folder import RunFolder, Store
from fer.train.run_tasks import Task, work


def train_parent(run: Run) -> RunFolder:
    """Have a trained run in FER_HOME and return its folder."""
    folder = Store(home()).folder(run)
    folder.register(run, {})
    if folder.trained:
        return folder
    shared = data_root().with_name("trained parents") / folder.name
    with once(shared) as building:
        if building is not None:
            assert work([Task(folder.path)]) == ["done"], folder.status()
            shutil.copytree(folder.path, building, dirs_exist_ok=True)
    if not folder.trained:
        shutil.copytree(shared, folder.path, dirs_exist_ok=True)
    return folder
