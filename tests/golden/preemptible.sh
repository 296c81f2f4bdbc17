#!/bin/bash

# Parameters
#SBATCH --array=0,1,5%3
#SBATCH --comment=fer:paper/002:ab
#SBATCH --constraint=nvlink
#SBATCH --cpus-per-task=6
#SBATCH --dependency=aftercorr:4711
#SBATCH --gpus-per-task=a100:1
#SBATCH --job-name=fer-paper
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=160G
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --open-mode=append
#SBATCH --output=/shared/fer/studies/paper/slurm/002/%A_%a_0.log
#SBATCH --partition=preempt
#SBATCH --qos=low
#SBATCH --requeue
#SBATCH --signal=USR2@60
#SBATCH --time=240

# setup
trap : TERM
export SLURM_EXPORT_ENV=ALL
unset RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT GROUP_RANK ROLE_RANK NODE_RANK
source $HOME/miniconda3/etc/profile.d/conda.sh
conda activate fer
export FER_HOME=/shared/fer
export FER_DATA=/shared/data
export FER_CACHE=/shared/cache
export PYTHONPATH=/shared/fer/studies/paper/slurm/code-0123456789ab/.path
export OMP_NUM_THREADS=1
export FER_MAX_RESTARTS=100
export FER_HANG_S=600
cd /shared/fer/studies/paper/slurm/code-0123456789ab || { echo '/shared/fer/studies/paper/slurm/code-0123456789ab: the code is not there or not whole; the same command makes a new copy' >&2; exit 1; }
export FER_PORT=$(/home/me/venv/bin/python -u /shared/fer/studies/paper/slurm/code-0123456789ab/fer/safe_path.py -m fer.cluster.dist_env)

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output=/shared/fer/studies/paper/slurm/002/%A_%a_%t.log --cpus-per-task=6 --kill-on-bad-exit=1 --mpi=none /home/me/venv/bin/python -u /shared/fer/studies/paper/slurm/code-0123456789ab/fer/safe_path.py -m fer.cluster.worker /shared/fer/studies/paper/slurm/002


# teardown
code=$?
try() { for _ in {1..30}; do "$@" && return; sleep 2; done; return 1; }
[ "$code" -ne 0 ] || [ "$(ls -d /shared/fer/studies/paper/slurm/002/finished-$SLURM_ARRAY_TASK_ID-* 2>/dev/null | wc -l)" -ge 1 ] || code=74
if [ "$code" -ne 0 ]; then
  state=$(try scontrol show job --oneliner "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID")
  /home/me/venv/bin/python -u /shared/fer/studies/paper/slurm/code-0123456789ab/fer/safe_path.py -m fer.cluster.worker /shared/fer/studies/paper/slurm/002 --ended "$code" "$state"
  [ $? -ne 75 ] || { try scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && exit 0; }
fi
exit "$code"