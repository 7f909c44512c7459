"""The simulator's promises: bytes that follow the seed, shadows that follow the sun, tables that are checked."""
import hashlib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from ssdiff.air import Air
from ssdiff.canvas import Canvas
from ssdiff.instrument import radiance, response
from ssdiff.objects import paint_building
from ssdiff.painting import draw_scene, LANDSCAPES
from ssdiff.scenes import observe, simulate
from ssdiff.sensors import SENSORS, Band, get_sensor
from ssdiff.spectra import read_spectra

TABLE = files("ssdiff") / "tables" / "spectra.csv"


def sha(d): return {k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in d.items()}


def test_bytes_follow_the_seed_in_any_order_of_sensors():
    forward = {s: sha(simulate(s, 11, 32)) for s in SENSORS}
    backward = {s: sha(simulate(s, 11, 32)) for s in reversed(SENSORS)}
    assert forward == backward
    assert len({d["pan"] for d in forward.values()}) == len(SENSORS)  # every acquisition has its own noise
    assert sha(simulate("WV3", 12, 32)) != forward["WV3"]


@pytest.mark.parametrize("kind", LANDSCAPES)
@pytest.mark.parametrize("sensor", ["WV3", "GF2"])
def test_every_landscape_is_a_plausible_image(kind, sensor):
    s = get_sensor(sensor)
    for seed in range(3):
        o = simulate(sensor, seed, 48, kind)
        assert o["ms"].shape == (s.n_bands, 48, 48) and o["pan"].shape == (1, 192, 192)
        assert o["ms"].dtype == o["pan"].dtype == np.uint16
        assert o["ms"].max() <= s.full_scale and o["pan"].max() <= s.full_scale
        assert .02 < o["pan"].mean() / s.full_scale < .5 and o["ms"].std(axis=(1, 2)).min() > 0
        small = o["pan"][0].reshape(48, 4, 48, 4).mean((1, 3))
        if kind != "farmland": assert np.corrcoef(small.ravel(), o["ms"][1].ravel())[0, 1] > .3


def test_scenes_are_dark_with_a_bright_tail():
    pans = [simulate("WV3", s, 64)["pan"] / 2047 for s in range(30)]
    means = np.array([p.mean() for p in pans])
    assert .1 < means.mean() < .22
    assert np.mean([np.percentile(p, 99) for p in pans]) > 1.8 * means.mean()
    assert means.max() > 2 * means.min()


# azimuth clockwise from the top; rows grow downwards
@pytest.mark.parametrize("azimuth, away", [(0, (1, 0)), (90, (0, -1)), (180, (-1, 0)), (270, (0, 1))])
def test_shadows_fall_away_from_the_sun_and_are_as_long_as_high_at_45_degrees(azimuth, away):
    air = Air(np.radians(45), np.radians(azimuth), .1, 1.3, 1.)
    c = Canvas(101, np.random.default_rng(0), .5, air, read_spectra())
    paint_building(c, 50, 50, 16, 16, 25, 0., "slate", 0.)
    line = lambda sign: np.array([c.sun[50 + sign*k*away[0], 50 + sign*k*away[1]] for k in range(50)])
    assert (line(-1) == 1).all()                            # sunny side and the roof itself
    assert abs(np.flatnonzero(line(1) == 0) - np.arange(8, 8 + 25)[:, None]).min(1).max() <= 1
    assert 24 <= (line(1) == 0).sum() <= 26                 # 25 high, 25 long


def test_more_haze_lifts_the_dark_and_lowers_contrast():
    scene = draw_scene(4, 32, "city")
    clear, hazy = (radiance(replace(scene, air=replace(scene.air, tau=t)), "WV3")[1] for t in (.02, .4))
    assert np.percentile(hazy, 1) > np.percentile(clear, 1)
    assert hazy.std() / hazy.mean() < clear.std() / clear.mean()


def test_bands_outside_the_simulated_spectrum_are_refused():
    swir = replace(get_sensor("QB"), pan=Band("swir", 1650, 1600, 1700))
    with pytest.raises(ValueError, match=r"band swir .* outside the simulated 400–1050 nm"): response(swir)
    for s in SENSORS: np.testing.assert_allclose(response(s).sum(1), 1)


@pytest.mark.parametrize("change, message", [
    (lambda t: t.drop(columns="kind"), "columns missing: .'kind'"),
    (lambda t: t.assign(w550=t.w550.where(t.material != "slate")), "they do not for slate"),
    (lambda t: t.assign(w550=t.w550 + 1), "reflectance must lie in 0…1"),
    (lambda t: t.assign(mixes_with=t.mixes_with.replace("litter", "glitter")), "unknown materials: glitter"),
    (lambda t: t.assign(w550=t.w550.astype(object).where(t.material != "slate", "dark")), "they do not for slate"),
    (lambda t: t.assign(mixing=t.mixing.where(t.material != "slate", -1)),
     "texture, mixing and reflectance must lie in 0…1; they do not for slate"),
    (lambda t: t[[*t.columns[:6], *t.columns[:5:-1]]], "must ascend from w400 to w1050"),
    (lambda t: t.drop(columns="w1050"), "must ascend from w400 to w1050"),
    (lambda t: pd.DataFrame(), "expected a CSV table of spectra"),
    (lambda t: t.drop(columns=[c for c in t if c.startswith("w")]), "found 0 reflectance columns")])
def test_a_wrong_table_is_refused(tmp_path, change, message):
    with TABLE.open() as f: change(pd.read_csv(f)).to_csv(tmp_path/"spectra.csv", index=False)
    with pytest.raises(ValueError, match=f"spectra.csv: .*{message}"): read_spectra(tmp_path/"spectra.csv")


def test_a_scene_is_made_of_the_materials_it_is_given(tmp_path):
    with TABLE.open() as f: t = pd.read_csv(f)
    grey = tmp_path/"spectra.csv"
    t.assign(**{c: .2 for c in t if c.startswith("w")}).to_csv(grey, index=False)
    first = draw_scene(3, 32, materials=read_spectra(grey)).first
    assert first.std(1).mean() < .5 * draw_scene(3, 32).first.std(1).mean()  # each object's own variation is left
    with_table, in_grey = (sha(simulate("QB", 3, 32, materials=read_spectra(path))) for path in (TABLE, grey))
    assert with_table == sha(simulate("QB", 3, 32)) != in_grey
    t.replace("slate", "slat").to_csv(grey, index=False)
    with pytest.raises(ValueError, match="spectra.csv: unknown material 'slate'"): read_spectra(grey).index("slate")


def test_every_material_says_where_it_comes_from():
    with TABLE.open() as f: t = pd.read_csv(f)
    assert len(t) >= 25 and t.material.is_unique and t.source.str.contains("not a copy").all()


def test_an_observation_does_not_change_the_scene():
    scene = draw_scene(2, 32)
    maps = scene.label, scene.mix, scene.gain, scene.sun, scene.sky, scene.first, scene.delta
    before = [x.copy() for x in maps]
    for sensor in ("WV3", "QB"): observe(scene, sensor)
    now = scene.label, scene.mix, scene.gain, scene.sun, scene.sky, scene.first, scene.delta
    for x, y in zip(before, now): np.testing.assert_array_equal(x, y)
