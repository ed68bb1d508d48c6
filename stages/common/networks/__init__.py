"""The networks by name, and how their kernels and strides follow from spacing and patch."""
