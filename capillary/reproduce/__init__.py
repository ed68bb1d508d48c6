"""`capillary reproduce`: a registered model trained again from what its registry recorded, and compared."""
