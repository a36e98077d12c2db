"""From a WorkerPool to running pods: rollout, repair, conflict, deletion, restart of the operator."""


