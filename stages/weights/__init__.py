"""The networks of the model cards as files, for DVC to keep. It unpickles nothing."""
