"""From a plan to array jobs: a pure function, tested as such."""

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fer.cluster.arrays import Dispatch, JobArray, Ref, make_arrays, pack
from fer.cluster.estimate import makespan
from fer.cluster.local_queue import _first_of
from fer.config.load import load_run
from fer.config.run import Inputs
from fer.config.study import Resources, minutes
from fer.study.expand import Run
from fer.study.plan import Step

CONFIG = load_run("configs/drawn.yaml")


def step(name: str, *parents: str, action: str = "", job: str = "") -> Step:
    chosen = action or ("wait" if parents else "train")
    return Step(Run(CONFIG, name, "c", parents), chosen, ("lfw/eval",), job)  # type: ignore[arg-type]


def names(array: JobArray) -> dict[int, list[str]]:
    return {index: [one.run.id for one in steps] for index, steps in array.jobs.items()}


def make(steps: list[Step], seconds: Mapping[str, float] | None = None, most: int = 1001,
         **resources: object) -> Dispatch:
    known = seconds or {}
    return make_arrays(steps, Resources.model_validate(resources),
                       lambda run: known.get(run.id), most)


@st.composite
def plans(draw: st.DrawFn) -> list[Step]:
    """Steps with random parents among the earlier ones, some done, some in the queue."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, 12))):
        known = [one.run.id for one in steps]
        parents = draw(st.sets(st.sampled_from(known), max_size=2)) if known else set()
        untrained = [p for p in parents if p not in {
            one.run.id for one in steps if one.action == "done"}]
        action = "wait" if untrained else draw(st.sampled_from(["train", "done", "queued"]))
        steps.append(step(f"r{number}", *sorted(parents), action=action,
                          job=f"9{number}_0" if action == "queued" else ""))
    return steps


@given(plans(), st.integers(1, 4), st.integers(2, 5))
@settings(max_examples=300, deadline=None)
def test_every_run_is_in_one_job_and_after_its_parents(
    steps: list[Step], per_job: int, most: int
) -> None:
    made = make(steps, most=most, runs_per_job=per_job)
    actions = {one.run.id: one for one in steps}
    place = {one.run.id: (array.number, index) for array in made.arrays
             for index, job in array.jobs.items() for one in job}
    wanted = {one.run.id for one in steps if one.action in ("train", "wait")}
    assert place.keys() == wanted and not made.left
    assert sum(array.runs for array in made.arrays) == len(place)
    for array in made.arrays:
        assert all(0 <= index < most for index in array.jobs)
        for index, job in array.jobs.items():
            assert len(job) <= per_job
            before = {(array.corresponds, index)} if array.corresponds else {
                (ref.array, ref.index) if isinstance(ref, Ref) else ref for ref in array.after}
            assert all(other[0] < array.number for other in before if isinstance(other, tuple))
            for one in job:
                for parent in one.run.parents:
                    if parent in place:
                        assert place[parent] in before
                    elif actions[parent].action == "queued":
                        assert actions[parent].job in before


def test_children_that_match_their_parents_correspond_to_them() -> None:
    made = make([step("a"), step("b"), step("c", "a"), step("d", "b")])
    parents, children = made.arrays
    assert children.corresponds == parents.number and not children.after
    assert [names(children)[index] for index, parent in names(parents).items()
            if parent == ["a"]] == [["c"]]


def test_many_children_of_one_parent_are_one_array_after_it() -> None:
    made = make([step("p"), *(step(f"c{n}", "p") for n in range(5))], runs_per_job=2)
    parent, children = made.arrays
    assert children.after == (Ref(parent.number, 0),) and len(children.jobs) == 3


def test_a_parent_has_a_job_to_itself() -> None:
    made = make([step("p"), step("x"), step("y"), step("c", "p")], runs_per_job=3)
    assert ["p"] in names(made.arrays[0]).values()


def test_a_child_waits_for_a_parent_that_is_in_the_queue_already() -> None:
    made = make([step("p", action="queued", job="7_3"), step("c", "p")])
    assert made.arrays[0].after == ("7_3",)


def test_a_child_whose_parent_runs_outside_slurm_is_left_for_later() -> None:
    made = make([step("p", action="running"), step("c", "p"), step("d", "c"), step("x")])
    assert [one.run.id for one in made.left] == ["c", "d"]
    assert [names(array) for array in made.arrays] == [{0: ["x"]}]


def test_the_longest_expected_comes_first_its_children_counted() -> None:
    made = make([step("short"), step("long"), step("parent"), step("child", "parent")],
                {"short": 10, "long": 50, "parent": 20, "child": 40})
    assert names(made.arrays[0]) == {0: ["parent"], 1: ["long"], 2: ["short"]}


def test_runs_of_other_shapes_stand_in_other_arrays() -> None:
    big = load_run("configs/drawn.yaml", {"compute.threads": 4})
    made = make([step("a"), Step(Run(big, "b", "c"), "train")])
    assert [array.shape.threads for array in made.arrays] == [1, 4]


def test_the_profiles_time_limit_bounds_what_a_job_asks_for() -> None:
    made = make_arrays([step("a")], Resources(time="10:00:00"), lambda run: None, 10, "2:00:00")
    assert made.arrays[0].shape.minutes == 120


def test_times_are_read_as_slurm_reads_them() -> None:
    assert [minutes(text) for text in ("4:00:00", "90:00", "1:30", "2-12", "1-02:30", "0:00:01")
            ] == [240, 90, 2, 3600, 1590, 1]


def test_indices_are_written_as_short_as_sbatch_takes_them() -> None:
    (array,) = make([step(f"r{n}") for n in range(4)]).arrays
    assert array.indices == "0-3"
    assert JobArray(1, array.shape, {0: (), 2: (), 5: ()}).indices == "0,2,5"
    assert JobArray(1, array.shape, {3: ()}).indices == "3"


def probe(name: str, *parents: str, **overrides: object) -> Step:
    """Return the step of a linear probe that others may train together with."""
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    config = load_run("configs/drawn.yaml", {"recipe": "linear_probe", **changes})
    inputs = Inputs(digests={}, parents={"init": parents[0] if parents else "body"})
    run = Run(config.model_copy(update={"inputs": inputs}), name, "c", parents)
    return Step(run, "wait" if parents else "train", ("lfw/eval",), "")


def test_probes_of_one_body_share_a_job_and_others_do_not_come_between() -> None:
    mixed = [one for number in range(4) for one in (
        probe(f"a{number}", optim__lr=10.0 ** -number), step(f"x{number}"),
        probe(f"b{number}", optim__weight_decay=0.1 * number, train__batch_size=8))]
    (array,) = make(mixed, runs_per_job=4).arrays
    assert sorted(map(sorted, names(array).values())) == [
        [f"{kind}{number}" for number in range(4)] for kind in "abx"]
    (array,) = make(mixed[:9], runs_per_job=1).arrays  # probes take no longer together than alone
    assert sorted("".join(sorted(name[0] for name in job)) for job in names(array).values()) == [
        "aaa", "bbb", "x", "x", "x"]
    (array,) = make(mixed[:9], runs_per_job=1, gpus=2).arrays  # on two ranks each trains alone
    assert len(array.jobs) == 9


def test_probes_of_many_bodies_are_packed_after_each_and_correspond_to_it() -> None:
    bodies = [step(f"p{number}") for number in range(5)]
    probes = [probe(f"c{body}{number}", f"p{body}", optim__lr=10.0 ** -number)
              for body in range(5) for number in range(4)]
    parents, children = make([*bodies, *probes]).arrays
    assert children.corresponds == parents.number
    for index, job in names(children).items():
        assert len(job) == 4 and {name[1] for name in job} == {names(parents)[index][0][1]}


def test_a_slot_of_this_machine_takes_probes_of_one_body_together() -> None:
    ready = [probe("a0"), step("x0"), probe("b0", train__batch_size=8), probe("a1", seed=3)]
    tested = replace(probe("a2", seed=4), action="evaluate")
    assert [one.run.id for one in _first_of([*ready, tested], 1, 32)] == ["a0", "a1"]
    assert [one.run.id for one in _first_of(ready, 3, 1)] == ["a0", "x0", "b0"]
    assert [one.run.id for one in _first_of(ready[1:], 2, 32)] == ["x0", "b0"]


@given(st.lists(st.floats(1, 100), min_size=1, max_size=40), st.integers(1, 6))
def test_packed_jobs_are_as_few_as_possible_and_about_equal(
    weights: list[float], most: int
) -> None:
    steps = [step(str(number)) for number in range(len(weights))]
    ordered = sorted(steps, key=lambda one: -weights[int(one.run.id)])
    jobs = pack(ordered, most, lambda one: weights[int(one.run.id)])
    assert len(jobs) == -(-len(steps) // most) and sum(map(len, jobs)) == len(steps)
    loads = [sum(weights[int(one.run.id)] for one in job) for job in jobs]
    assert max(loads) <= sum(loads) / len(loads) + max(weights)


def test_the_makespan_of_one_slot_is_the_sum_and_of_many_the_longest_way() -> None:
    times = {"a": 3.0, "b": 4.0, "c": 5.0}
    made = make([step("a"), step("b"), step("c", "a")], times)
    seconds = {one.run.id: times[one.run.id] for one in [step("a"), step("b"), step("c")]}
    assert makespan(made.arrays, lambda run: seconds[run.id], 1) == 12
    assert makespan(made.arrays, lambda run: seconds[run.id], 9) == 8
