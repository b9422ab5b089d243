"""VGG19 against PyTorch and Keras, its shapes and gradients, and what it says to wrong use."""

from __future__ import annotations

import os
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jpst import weights
from jpst.models import vgg19
from jpst.models.vgg19 import LAYERS, LayerError, features, minimum_size

NARROW = (4, 6, 8, 8, 8)
STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
run = jax.jit(features, static_argnames="layers")


@pytest.fixture(scope="module")
def narrow():
    return vgg19.init(jax.random.key(0), channels=NARROW)


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).random((height, width, 3), dtype=np.float32)


def narrow_template(monkeypatch):
    shapes = vgg19.template(NARROW)
    monkeypatch.setattr(vgg19, "template", lambda: shapes)


def close(found: dict[str, jax.Array], expected: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    assert set(found) == set(expected)
    for layer, reference in expected.items():
        scale = np.abs(reference).max()
        assert scale > 0, layer
        np.testing.assert_allclose(found[layer] / scale, reference / scale, atol=tolerance, err_msg=layer)


def torch_network(torch, channels: tuple[int, ...], old_numbering: bool = False):
    """torchvision's layout: `features.N` and a classifier, with a tiny classifier that must be ignored."""
    nn, blocks, before = torch.nn, [], 3
    for depth, width in zip((2, 2, 4, 4, 4), channels, strict=True):
        for _ in range(depth):
            blocks += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        blocks.append(nn.MaxPool2d(2, 2))
    head = [
        nn.Linear(2, 2),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(2, 2),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(2, 2),
    ]
    if old_numbering:
        head = [nn.Flatten(), *head[:2], nn.Dropout(), *head[3:5], nn.Linear(2, 2)]
    torch.manual_seed(0)
    for layer in blocks:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return nn.ModuleDict({"features": nn.Sequential(*blocks), "classifier": nn.Sequential(*head)})


def torch_input(torch, image, caffe: bool):
    x = image.permute(2, 0, 1)[None]
    if caffe:
        return x.flip(1) * 255 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None]


def torch_features(torch, network, image, caffe: bool) -> dict:
    x, found, names = torch_input(torch, image, caffe), {}, iter(LAYERS)
    for layer in network["features"][:-1]:  # All but the last pool.
        x = layer(x)
        if not isinstance(layer, torch.nn.MaxPool2d):
            found[next(names)] = x[0].permute(1, 2, 0)
    return found


@pytest.mark.parametrize("caffe", [False, True], ids=["torchvision", "caffe"])
@pytest.mark.parametrize("channels", [NARROW, vgg19.CHANNELS], ids=["narrow", "full"])
def test_features_equal_pytorch(tmp_path, monkeypatch, channels, caffe):
    torch = pytest.importorskip("torch")
    if channels == NARROW:
        narrow_template(monkeypatch)
    network = torch_network(torch, channels, old_numbering=caffe)
    legacy = caffe == (channels == NARROW)
    torch.save(network.state_dict(), tmp_path / "f", _use_new_zipfile_serialization=not legacy)
    variables, provenance = weights.load("vgg19", tmp_path / "f")
    assert provenance.name == "f"
    if not caffe:  # OIHW to HWIO changes no bit; the Caffe kernel is reversed over its input channels.
        kernel = network["features"][0].weight.detach().numpy().transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(variables["params"]["conv1_1"]["kernel"], kernel, strict=True)
    image = photo(37, 45)
    with torch.no_grad():
        expected = torch_features(torch, network, torch.from_numpy(image), caffe)
    close(run(variables, image, layers=LAYERS), {name: value.numpy() for name, value in expected.items()})


def test_gradient_equals_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    narrow_template(monkeypatch)
    network = torch_network(torch, NARROW)
    torch.save(network.state_dict(), tmp_path / "f")
    variables = weights.load("vgg19", tmp_path / "f").variables
    image = photo(19, 22)
    layers = ("conv1_1", "conv3_1", "relu4_2")

    def loss(x):
        return sum((value**2).mean() for value in run(variables, x, layers=layers).values())

    leaf = torch.from_numpy(image).requires_grad_()
    expected = torch_features(torch, network, leaf, caffe=False)
    sum((expected[layer] ** 2).mean() for layer in layers).backward()
    close({"gradient": jax.grad(loss)(image)}, {"gradient": leaf.grad.numpy()})


def keras_network(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "jax"))
    keras = pytest.importorskip("keras")
    # Its own initialiser takes ten seconds to compile and is overwritten anyway.
    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", lambda _self, shape, dtype: np.zeros(shape))
    network = keras.applications.VGG19(include_top=False, weights=None, input_shape=(35, 46, 3))
    rng = np.random.default_rng(1)
    for layer in network.layers:
        if "conv" in layer.name:
            shape = layer.kernel.shape
            kernel = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / np.prod(shape[:3]))
            layer.set_weights([kernel, rng.random(shape[-1], dtype=np.float32) - 0.5])
    return keras, network


def write_keras_1(path, network) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            names = [f"{layer.name}_{kind}_1:0" for kind in "Wb"] if layer.weights else []
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def test_features_equal_keras(tmp_path, monkeypatch):
    """Keras applies the ReLU inside its convolutions, so only those layers can be compared."""
    image = photo(35, 46)
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings(action="ignore"):
        keras, network = keras_network(monkeypatch)
        layers = [layer for layer in network.layers if "conv" in layer.name]
        outputs = keras.Model(network.input, [layer.output for layer in layers])(
            keras.applications.vgg19.preprocess_input(image[None] * 255)
        )
        write_keras_1(tmp_path / "f.h5", network)
        kernel = np.asarray(layers[5].kernel.value)
    names = [layer.name.replace("block", "relu").replace("_conv", "_") for layer in layers]
    expected = {name: np.asarray(output)[0] for name, output in zip(names, outputs, strict=True)}
    variables = weights.load("vgg19", tmp_path / "f.h5").variables
    np.testing.assert_array_equal(variables["params"]["conv3_2"]["kernel"], kernel, strict=True)
    close(run(variables, image, layers=tuple(names)), expected)


def test_a_reversed_first_kernel_takes_the_other_colour_order(narrow):
    image = photo(20, 18)
    reversed_ = jax.tree.map(jnp.asarray, narrow)
    reversed_["params"]["conv1_1"]["kernel"] = narrow["params"]["conv1_1"]["kernel"][:, :, ::-1]
    expected = run(narrow, image[..., ::-1], layers=STYLE)
    close(run(reversed_, image, layers=STYLE), expected, 1e-5)


def test_preprocessing_comes_with_the_variables(narrow):
    image, scale, offset = photo(16, 16), np.float32([2, 3, 4]), np.float32([-1, 0.5, 0])
    variables = {**narrow, "preprocessing": {"scale": scale, "offset": offset}}
    close(
        run(variables, image, layers=STYLE),
        run(narrow, image * scale[None, None] + offset[None, None], layers=STYLE),
    )


def test_relu_follows_convolution_and_only_the_layers_asked_for_come_back(narrow):
    found = run(narrow, photo(16, 16), layers=("conv3_2", "relu3_2", "conv1_1"))
    assert set(found) == {"conv3_2", "relu3_2", "conv1_1"}
    np.testing.assert_array_equal(found["relu3_2"], np.maximum(found["conv3_2"], 0))
    assert found["conv3_2"].min() < 0
    same = run(narrow, photo(16, 16), layers=("relu3_2",))
    np.testing.assert_array_equal(found["relu3_2"], same["relu3_2"])


def primitives(layer: str, variables) -> list[str]:
    image = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(partial(features, layers=(layer,)))(variables, image)
    return str(jaxpr).replace("reduce_window_max", "pool ").split()


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_beyond_the_deepest_layer_is_computed(narrow, layer):
    found = primitives(layer, narrow)
    depth = LAYERS.index(layer) // 2 + 1
    assert sum(word.startswith("conv_general_dilated") for word in found) == depth
    assert found.count("pool") == int(layer[4]) - 1
    # The variables of a network that ends there are enough.
    names = {f"conv{name[4:]}" for name in LAYERS[: LAYERS.index(layer) + 1]}
    params = {name: narrow["params"][name] for name in names}
    assert layer in run({**narrow, "params": params}, photo(16, 16), layers=(layer,))


@pytest.mark.parametrize("height, width", [(16, 16), (31, 33), (37, 50)])
def test_sizes(narrow, height, width):
    shapes = jax.eval_shape(
        partial(features, layers=LAYERS), narrow, jax.ShapeDtypeStruct((height, width, 3), "float32")
    )
    for layer, value in shapes.items():
        pools = int(layer[4]) - 1  # before it, each halving the sides
        assert value.shape == (height >> pools, width >> pools, NARROW[pools]), layer


def test_facts_about_layers_are_those_of_the_network():
    shapes = vgg19.template()["params"]
    assert vgg19.convolutions_to(("relu2_2", "conv1_1")) == ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
    assert vgg19.convolutions_to(LAYERS) == tuple(shapes)
    for name, layer in shapes.items():
        assert vgg19.channels_of(name) == vgg19.channels_of(name.replace("conv", "relu")) == layer["bias"].size


@pytest.mark.parametrize("layers, least", [(("conv1_2",), 1), (("relu2_1", "conv1_1"), 2), (STYLE, 16)])
def test_minimum_size(narrow, layers, least):
    assert minimum_size(layers) == least
    found = run(narrow, photo(least, least), layers=layers)
    assert set(found) == set(layers) and all(value.size for value in found.values())
    if least > 1:
        with pytest.raises(LayerError, match=f"at least {least}x{least}"):
            run(narrow, photo(least - 1, 64), layers=layers)


@pytest.mark.parametrize(
    "layers, message",
    [
        (("conv4_22",), "did you mean conv4_2"),
        (("conv1_1", "relu5_5"), r"no layer 'relu5_5'.*did you mean relu5_4.*conv1_1, relu1_1"),
        (("pool",), "There are conv1_1, relu1_1"),
        ((), "expected a tuple of names"),
        ("conv1_1", "expected a tuple of names"),
        ((3,), "no layer 3"),
    ],
)
def test_wrong_layers(narrow, layers, message):
    with pytest.raises(LayerError, match=message):
        run(narrow, photo(16, 16), layers=layers)
    with pytest.raises(LayerError):
        minimum_size(layers)


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16, 3), (16, 16, 4), (3, 16, 16)])
def test_wrong_images(narrow, shape):
    with pytest.raises(LayerError, match=r"got float32 .*expected .*\[H, W, 3\]"):
        run(narrow, np.zeros(shape, np.float32), layers=("conv1_1",))


def test_integer_images_are_refused(narrow):
    """Levels 0..255 would pass for an image in [0, 1] that is 255 times too bright."""
    with pytest.raises(LayerError, match=r"uint8.*in \[0, 1\]"):
        features(narrow, np.zeros((16, 16, 3), np.uint8), ("conv1_1",))


def test_vmap_equals_a_loop(narrow):
    images = np.stack([photo(20, 24), photo(20, 24)[::-1]])
    batched = jax.jit(jax.vmap(partial(features, layers=STYLE), in_axes=(None, 0)))(narrow, images)
    for i, image in enumerate(images):
        close({layer: value[i] for layer, value in batched.items()}, run(narrow, image, layers=STYLE), 1e-6)


def test_vmap_over_weights_and_gradients(narrow):
    both = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), narrow)

    def loss(variables, image):
        return features(variables, image, ("relu2_1",))["relu2_1"].sum()

    gradients = jax.jit(jax.vmap(jax.grad(loss, argnums=1), in_axes=(0, None)))(both, photo(16, 16))
    assert gradients.shape == (2, 16, 16, 3)
    assert np.isfinite(gradients).all() and np.abs(gradients).max() > 0


def test_rank_promotion_is_never_needed(narrow):
    with jax.numpy_rank_promotion("raise"):
        jax.make_jaxpr(jax.grad(lambda image: features(narrow, image, STYLE)["conv5_1"].sum()))(photo(16, 16))


def test_bfloat16_is_near_and_returns_float32(narrow):
    layers = ("conv1_1", "relu3_1")
    exact = run(narrow, photo(32, 32), layers=layers)
    cast = vgg19.cast(vgg19.accelerate(narrow, least_channels=1), jnp.bfloat16)
    rough = run(cast, photo(32, 32), layers=layers)
    assert all(value.dtype == jnp.float32 for value in rough.values())
    close(rough, exact, 0.03)
    assert np.abs(rough["relu3_1"] - exact["relu3_1"]).max() > 0


def test_the_gradient_of_bfloat16_features_points_the_same_way(narrow):
    def loss(image, variables):
        return sum((value**2).mean() for value in features(variables, image, ("relu1_1", "relu4_1")).values())

    slope = jax.jit(jax.grad(loss))
    exact, rough = slope(photo(32, 32), narrow), slope(photo(32, 32), vgg19.cast(narrow, jnp.bfloat16))
    assert rough.dtype == jnp.float32
    cosine = jnp.vdot(exact, rough) / jnp.linalg.norm(exact) / jnp.linalg.norm(rough)
    assert 0.95 < cosine < 1 - 1e-6


def test_new_weights_do_not_retrace(narrow):
    traces = []

    @partial(jax.jit, static_argnames="layers")
    def counted(variables, image, layers):
        traces.append(layers)
        return features(variables, image, layers)

    for factor in (1.0, 2.0):
        counted(jax.tree.map(lambda x, f=factor: f * x, narrow), photo(16, 16), layers=STYLE)
    assert len(traces) == 1


def test_published_codebook_weights():
    """The real file, where somebody has fetched it (`jpst weights fetch`)."""
    found = weights.find("vgg19")
    if found is None or found.checkpoint.name != "vgg19-caffe-codebook":
        pytest.skip(f"vgg19-caffe-codebook is not in {weights.directory()}: run `jpst weights fetch`")
    variables, provenance = weights.load("vgg19")
    assert provenance.name == "vgg19-caffe-codebook"
    params = variables["params"]
    # Biases are not in the codebook, so these are Oxford's own numbers.
    np.testing.assert_allclose(params["conv1_1"]["bias"][:3], [0.7301776, 0.06493629, 0.03428847], rtol=1e-6)
    for name, layer in params.items():
        assert len(np.unique(layer["kernel"])) <= 256, name
        assert 0.005 < layer["kernel"].std() < 0.2 and abs(layer["kernel"].mean()) < 0.005, name
    assert all(np.isfinite(value).all() for value in run(variables, photo(32, 32), layers=STYLE).values())


def test_accelerated_variables_give_the_same_features_and_gradients(narrow):
    fast, image = vgg19.accelerate(narrow, least_channels=6), photo(21, 34)
    assert set(fast["winograd"]) == set(vgg19.CONVOLUTIONS[3:])
    close(run(fast, image, layers=STYLE), run(narrow, image, layers=STYLE), 1e-5)

    @jax.jit
    def slopes(variables, image):
        def loss(params, image):
            found = features({**variables, "params": params}, image, ("relu3_1", "conv4_1"))
            return sum((value**2).mean() for value in found.values())

        by_params, by_image = jax.grad(loss, argnums=(0, 1))(variables["params"], image)
        return {"image": by_image, **{name: by_params[name]["kernel"] for name in ("conv1_1", "conv3_2")}}

    close(slopes(fast, image), slopes(narrow, image), 1e-4)


def test_only_wide_layers_are_accelerated_and_no_other_variables_change():
    shapes = jax.eval_shape(vgg19.accelerate, vgg19.template())
    assert set(shapes["winograd"]) == set(vgg19.CONVOLUTIONS[3:])
    assert {name: shapes[name] for name in ("params", "preprocessing")} == vgg19.template()


def test_the_template_is_what_the_module_makes():
    network = vgg19.VGG19(LAYERS[-1:], channels=(4, 6, 6, 8, 8))
    made = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((16, 16, 3)))
    assert vgg19.template((4, 6, 6, 8, 8)) == made


@pytest.mark.parametrize("fast", [False, True])
def test_turned_sees_the_picture_with_height_and_width_exchanged(vgg19_tiny, photograph, fast):
    variables = vgg19.accelerate(vgg19_tiny, 8) if fast else vgg19_tiny
    image = jnp.asarray(photograph(48, 32))
    layers = ("relu1_1", "relu3_1", "conv5_1")
    upright = vgg19.features(variables, image, layers)
    turned = vgg19.features(vgg19.turned(variables), jnp.swapaxes(image, 0, 1), layers)
    for name in layers:
        np.testing.assert_allclose(jnp.swapaxes(turned[name], 0, 1), upright[name], atol=1e-4 * upright[name].max())
    twice = vgg19.turned(vgg19.turned(variables))
    jax.tree.map(np.testing.assert_array_equal, twice, variables)
