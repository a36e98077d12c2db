"""What the supervisor logs of what slots find out."""

from tubeherd.shared_memory.control import Remark
from tubeherd.supervisor.remarks import Remarks


def test_remark_is_logged_once_and_many_of_one_kind_do_not_hold_up_those_of_another(logged):
    remarks = Remarks()
    for number in range(300):
        remarks.log(Remark(f"lacking {number % 150}", f"tube {number % 150} lacks one"))
    remarks.log(Remark("beyond", "too many tubes"))
    events = [line["event"] for line in logged()]
    assert events == [*[f"tube {number} lacks one" for number in range(100)], "too many tubes"]
