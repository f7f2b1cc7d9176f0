"""The former name of the models package."""


def test_the_renderer_is_the_same_under_its_former_name():
    from rewardsmith.modeling.rendering import Renderer

    from rewardsmith.models import rendering

    assert Renderer is rendering.Renderer
