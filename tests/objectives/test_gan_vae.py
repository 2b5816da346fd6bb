"""What gan_vae leaves open, by the size of the images."""

import pytest

from ganvae import objectives


@pytest.mark.parametrize(("side", "share", "ramp"), [(28, 0.4, 1500), (33, 0.7, 4000)])
def test_what_nobody_set_is_by_the_size_of_the_images(side, share, ramp):
    stages = objectives.build("gan_vae").suited(side).stages()
    assert [stage.share for stage in stages] == [share, pytest.approx(1 - share)]
    assert (stages[1].objective.share, stages[1].objective.ramp) == (share, ramp)


def test_what_somebody_set_stays():
    for options in ({"share": 0.2}, {"share": 0}):
        made = objectives.build("gan_vae", options).suited(256)
        assert made.share == options["share"] and made.ramp == 4000
        assert len(made.stages()) == (2 if made.share else 1)
    assert objectives.build("gan_vae", {"ramp": 1}).suited(64).ramp == 1


def test_without_a_size_it_is_that_of_small_images():
    made = objectives.build("gan_vae")
    assert made.share is None
    assert made.stages() == made.suited(32).stages()
