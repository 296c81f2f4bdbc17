"""The configuration files of the single-machine SLURM, as text. Pure: writes and starts nothing.

Everything lies below one folder and listens on loopback, on ports of its own, so that no other
SLURM on the machine is touched. Not for starting the daemons (`devcluster.py`).
"""

from dataclasses import dataclass
from pathlib import Path

PARTITIONS = ("main", "urgent")
SLOWNESS = {
    # SLURM's own waits: a requeued job is held back for 120 s, a silent node is lost after 300 s
    "real": {"cred_expire": 120, "kill_wait": 30, "slurmd_timeout": 300, "interval": 30},
    "fast": {"cred_expire": 5, "kill_wait": 5, "slurmd_timeout": 15, "interval": 2},
}


@dataclass(frozen=True)
class Cluster:
    """What is asked for.

    Attributes:
        folder: holds configuration, state, logs, sockets and fake GPUs.
        nodes: pretended nodes, n1 ... nN, all on this machine.
        gpus: fake GPUs of a node (character devices that compute nothing).
        accounting: run slurmdbd and MariaDB, so that `sacct` answers.
        enforce: refuse jobs of unknown accounts and beyond the limits set with `sacctmgr`.
        max_array: SLURM's MaxArraySize.
        pace: `fast` for tests, `real` for SLURM's own waits.
        warn: at preemption, send the user signal and grant `grace` seconds; else the job gets
            SIGTERM and, after `kill_wait`, SIGKILL, as on most real clusters.
        grace: seconds between the user signal and the end.
        first_port: of a row of ports: controller, slurmdbd, MariaDB, then one a node.
        cores: of each node, as SLURM counts them; the machine's real ones are shared by all.
        memory_mb: real memory of the machine, which every pretended node has.
    """

    folder: Path
    nodes: int = 2
    gpus: int = 2
    accounting: bool = True
    max_array: int = 1001
    pace: str = "real"
    warn: bool = True
    grace: int = 60
    first_port: int = 26817
    cores: int = 2
    memory_mb: int = 4000
    enforce: bool = False

    @property
    def name(self) -> str:
        """SLURM's ClusterName."""
        return f"fer{self.first_port}"

    @property
    def slurm_conf(self) -> Path:
        """What SLURM_CONF must name."""
        return self.folder / "etc" / "slurm.conf"

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the pretended nodes, which no resolver knows."""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def gpu_devices(self) -> list[Path]:
        """The character devices that stand for GPUs; all nodes share them."""
        return [self.folder / "dev" / f"gpu{number}" for number in range(self.gpus)]

    def port(self, number: int) -> int:
        """Return port `number` of the row: 0 controller, 1 slurmdbd, 2 MariaDB, 3... nodes."""
        return self.first_port + number


def slurm_conf(cluster: Cluster) -> str:
    """Return `slurm.conf`."""
    folder, wait = cluster.folder, SLOWNESS[cluster.pace]
    gpus = f" Gres=gpu:{cluster.gpus}" if cluster.gpus else ""
    lines = [
        f"ClusterName={cluster.name}",
        "SlurmctldHost=localhost(127.0.0.1)",
        "SlurmUser=root",
        "SlurmdUser=root",
        f"SlurmctldPort={cluster.port(0)}",
        "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",  # loopback, not every interface
        "AuthType=auth/munge",
        # a requeued job may not start before its old credential expired
        f"AuthInfo=socket={folder}/run/munge.socket,cred_expire={wait['cred_expire']}",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/run/slurmctld.pid",
        f"SlurmdPidFile={folder}/run/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/slurmd-%n.log",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SwitchType=switch/none",
        "MpiDefault=none",
        "ReturnToService=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        f"MaxArraySize={cluster.max_array}",
        "MaxJobCount=50000",
        "MinJobAge=300",
        f"KillWait={wait['kill_wait']}",
        f"SlurmdTimeout={wait['slurmd_timeout']}",
        "SlurmctldTimeout=30",
        "InactiveLimit=0",
        "JobRequeue=1",
        "SchedulerType=sched/backfill",
        f"SchedulerParameters=bf_interval={wait['interval']},sched_interval={wait['interval']},"
        "batch_sched_delay=0",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        *(["SlurmctldParameters=preempt_send_user_signal"] if cluster.warn else []),
        "SlurmdParameters=config_overrides",  # nodes have as many cores as is written here
        *(["GresTypes=gpu"] if cluster.gpus else []),
        *_accounting(cluster),
    ]
    for number, name in enumerate(cluster.node_names):
        lines.append(f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 "
                     f"Port={cluster.port(3 + number)} CPUs={cluster.cores} "
                     f"RealMemory={cluster.memory_mb}{gpus} State=UNKNOWN")
    nodes = ",".join(cluster.node_names)
    grace = f" GraceTime={cluster.grace}" if cluster.warn else ""
    lines += [
        f"PartitionName=main Nodes={nodes} Default=YES PriorityTier=1 State=UP{grace}",
        f"PartitionName=urgent Nodes={nodes} PriorityTier=10 PreemptMode=OFF State=UP",
    ]
    return "\n".join(lines) + "\n"


def _accounting(cluster: Cluster) -> list[str]:
    if not cluster.accounting:
        return ["AccountingStorageType=accounting_storage/none",
                "JobAcctGatherType=jobacct_gather/none"]
    return ["AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={cluster.port(1)}",
            f"AccountingStoragePass={cluster.folder}/run/munge.socket",
            "AccountingStoreFlags=job_comment",
            *(["AccountingStorageEnforce=associations,limits,qos"] if cluster.enforce else []),
            "JobAcctGatherType=jobacct_gather/linux"]


def gres_conf(cluster: Cluster) -> str:
    """Return `gres.conf`: with plain files, or a count alone, CUDA_VISIBLE_DEVICES is never set."""
    return "".join(f"NodeName={name} Name=gpu File={device}\n"
                   for name in cluster.node_names for device in cluster.gpu_devices)


def slurmdbd_conf(cluster: Cluster, password: str) -> str:
    """Return `slurmdbd.conf`, which must have mode 0600: the password is in it."""
    folder = cluster.folder
    return "\n".join([
        "CommunicationParameters=NoInAddrAny",
        "DbdHost=localhost", "DbdAddr=127.0.0.1", f"DbdPort={cluster.port(1)}", "SlurmUser=root",
        "AuthType=auth/munge", f"AuthInfo=socket={folder}/run/munge.socket",
        f"PidFile={folder}/run/slurmdbd.pid", f"LogFile={folder}/log/slurmdbd.log",
        "StorageType=accounting_storage/mysql", "StorageHost=127.0.0.1",
        f"StoragePort={cluster.port(2)}", "StorageUser=slurm", f"StoragePass={password}",
        "StorageLoc=slurm", ""])
