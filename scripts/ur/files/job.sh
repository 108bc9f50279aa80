# shellcheck shell=bash
# The job that a task runs as: where Ur's agent keeps its state, which is not where the task runs.

find_job() { # sets job_state to the directory in which the agent keeps this job; fails where no agent runs the task
  [[ -n ${UR_JOB_DIR:-} ]] || return 1
  job_state=${UR_JOB_DIR%/work/*/work}/jobs/${UR_REQUEST:-}
  # Agents of version 0.1.0 kept it where the task runs.
  [[ -e $job_state/pid ]] || job_state=${UR_JOB_DIR%/}
}
