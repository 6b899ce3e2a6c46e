import pytest

from pipeline.errors import HandPoseError, SourceError, command


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (HandPoseError("it broke: try again"), 1, "it broke: try again\n"),
        (SourceError("nothing there: look elsewhere"), 2, "nothing there: look elsewhere\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_commands_tell_errors_and_return_their_code(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def main(arguments: list[str]) -> int:
        assert arguments == ["--fail"]
        raise error

    assert main(["--fail"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", told)


def test_commands_return_their_own_code_and_let_other_errors_out() -> None:
    @command
    def main(codes: dict[str, int], which: str = "done") -> int:
        """What it does."""
        return codes[which]

    assert main.__doc__ == "What it does."
    assert main({"done": 3}) == 3
    with pytest.raises(KeyError):
        main({}, which="done")
