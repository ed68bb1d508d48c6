"""`capillary export crate`: results with the workflow, the inputs and the programs that made them, as an RO-Crate."""
