"""`capillary export`: a trained network in the forms of other programs."""
