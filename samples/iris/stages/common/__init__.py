"""What the stages share. An entry of dvc.yaml declares the modules that its stage imports."""
