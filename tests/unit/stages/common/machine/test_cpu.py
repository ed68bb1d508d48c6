"""What a processor says of itself."""

from stages.common.machine.cpu import FLAGS, cpu_flags, first_processor


def test_a_processor_says_what_kernels_choose_by() -> None:
    """This one, and one of another kind."""
    assert set(cpu_flags()) <= set(FLAGS)
    info = first_processor("processor: 0\nmodel name\t: A  CPU\nflags\t\t: avx2 amx_bf16\n\nprocessor: 1\nflags: x\n")
    assert (info["model name"], info["flags"]) == ("A  CPU", "avx2 amx_bf16")
