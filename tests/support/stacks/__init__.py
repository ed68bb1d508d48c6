"""What a test asks of a stack, opened for each question: `plain` of a TIFF or NIfTI, `any_form` of every form."""
