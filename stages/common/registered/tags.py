"""Tags on versions and runs that say what a training is. Those of a network are in tracking/registry.py."""

KIND = "capillary.kind"
TRAINING_KIND = "training"
TRAINING = "capillary.training"  # the training's id
EVALUATION = "capillary.evaluation"  # hash of the training as it was evaluated
REHEARSAL = "capillary.rehearsal"  # "true": no alias ever moves to it
VOLUMES = "capillary.volumes"  # on a training: how many it was measured on, out of fold
HELD_OUT = "capillary.held_out"  # on a training: the ensemble's mean of the metric that decides, on held-out volumes
COMMIT = "capillary.commit"
EVALUATION_COMMIT = "capillary.evaluation_commit"  # on a training: the commit at which evaluate ran
# links between runs
EVALUATION_RUN = "capillary.evaluation_run"
TRAIN_RUNS = "capillary.train_runs"
