"""WebGPU: the same numbers, used where it is faster, done without where it is not to be had."""

import pytest

from browsing import serving, watched
from geocamnet.runtime.model import bundled_student, load
from geocamnet.web.engine import read_lock
from geocamnet.web.site import site
from page_answers import compare

pytestmark = pytest.mark.web

# A GPU played by the processor: slow, but the same code of ONNX Runtime and the same shaders.
PLAYED = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
TRY = """async (how) => {
  const { Network } = await import("./network.js");
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const released = [];
  const session = ({ name, ms, says }) => ({
    inputNames: ["image"], outputNames: ["probabilities", "class_maps"], runs: 0,
    async run() {
      await wait(ms);
      if (++this.runs > (how.lostAfter ?? 1e9) && name === "webgpu") throw new Error("the device is lost");
      const maps = { dims: [1, 1, 1, 2], data: [says, 2 * says] };
      return { probabilities: { dims: [1, 1], data: [says] }, class_maps: maps };
    },
    async release() { released.push(name); },
  });
  const ort = {
    Tensor: class {},
    InferenceSession: {
      async create(bytes, { executionProviders: [provider] }) {
        const name = provider.name ?? provider;
        if (name === "webgpu" && how.refuses) throw new Error("no such node");
        return session({ name, ...how[name] });
      },
    },
  };
  const network = await Network.open(ort, { classes: [{}] }, new Uint8Array(1));
  await network.tryGpu(new Uint8Array(3), 1, 1, how.whateverItTakes ?? false);
  const before = network.runsOn;
  const said = [];
  for (let i = 0; i < 3; i++) said.push((await network.run(new Uint8Array(3), 1, 1)).probabilities[0]);
  return { before: before.engine, timed: before.timed, after: network.runsOn.engine, said, released };
}"""


def decided(page, **how):
    """Return what the page makes of a processor and a GPU that take so long and say so much."""
    return page.evaluate(TRY, {"wasm": {"ms": 30, "says": 0.5}, "webgpu": {"ms": 0, "says": 0.5}, **how})


@pytest.fixture(scope="module")
def played(launch, page_url):
    """Return a Chromium whose GPU is played by the processor."""
    browser = launch(*PLAYED)
    page = browser.new_page()
    page.goto(page_url)
    if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
        pytest.skip("this Chromium plays no GPU (SwiftShader): WebGPU was not tried")
    page.context.close()
    return browser


def test_the_gpu_gives_the_same_numbers(played, page_url, web_student, photographs):
    with watched(played.new_context(locale="en-US"), page_url) as page:
        page.goto(page_url + "?engine=webgpu")
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        compare(page, web_student, photographs[:6], engine="webgpu")
        compare(page, bundled_student(), photographs[:3], engine="webgpu")
        page.set_input_files("#photographs-file", photographs[0])
        page.wait_for_selector("body[data-seen='1']", timeout=60_000)
        page.set_input_files("#photographs-file", photographs[1])
        page.wait_for_selector("body[data-engine='webgpu']", timeout=60_000)
        assert "WebGPU" in page.locator("#state").inner_text()


def test_a_gpu_that_the_processor_plays_is_not_used_unasked(played, page_url, photographs):
    with watched(played.new_context(locale="en-US"), page_url) as page:
        page.goto(page_url)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        fetched = page.evaluate("async () => (await (await import('./engine.js')).startEngine(null)).build")
        assert fetched == "plain"
        page.set_input_files("#photographs-file", photographs[0])
        page.wait_for_selector("body[data-engine='wasm']", timeout=60_000)


def test_offline_the_engine_with_webgpu_is_kept_and_the_other_is_not(played, web_student):
    from geocamnet.web.server import app_of

    with serving(app_of(site(load(web_student)))) as (port, end):
        address = f"http://127.0.0.1:{port}/"
        offline = ("ERR_CONNECTION_REFUSED", "ERR_FAILED")
        with watched(played.new_context(locale="en-US"), address, allow=offline) as page:
            page.goto(address + "?engine=webgpu")
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            page.evaluate("async () => { await navigator.serviceWorker.ready }")
            kept = page.evaluate(
                "async () => (await (await caches.open((await caches.keys())[0])).keys()).map((one) => one.url)"
            )
            engines = {url.rpartition("/")[2] for url in kept if "/engine/" in url}
            assert engines == set(read_lock().builds["gpu"])
            end()
            page.reload()
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            for seen in (1, 2):
                page.evaluate("document.querySelector('#welcome [data-do=sample]').click()")
                page.wait_for_selector(f"body[data-seen='{seen}']", timeout=60_000)
            assert page.locator("body").get_attribute("data-engine") == "webgpu"


def test_a_faster_gpu_that_agrees_is_used_and_the_times_are_told(page):
    found = decided(page)
    assert (found["before"], found["after"]) == ("webgpu", "webgpu")
    assert found["timed"]["webgpu"] < found["timed"]["wasm"]


@pytest.mark.parametrize(
    "how",
    [{"webgpu": {"ms": 60, "says": 0.5}}, {"webgpu": {"ms": 0, "says": 0.51}}, {"refuses": True}, {"lostAfter": 3}],
    ids=["slower", "says something else", "refuses the model", "lost while it is timed"],
)
def test_any_other_gpu_is_not_used(page, how):
    found = decided(page, **how)
    assert (found["before"], found["said"]) == ("wasm", [0.5] * 3)
    assert found["released"] == ([] if how.get("refuses") else ["webgpu"])


def test_a_slower_gpu_is_used_where_it_is_asked_for_but_not_one_that_says_something_else(page):
    slow = {"webgpu": {"ms": 60, "says": 0.5}}
    assert decided(page, **slow, whateverItTakes=True)["before"] == "webgpu"
    assert decided(page, webgpu={"ms": 0, "says": 0.6}, whateverItTakes=True)["before"] == "wasm"


def test_where_the_gpu_is_lost_the_processor_goes_on(page):
    # One run when it is tried, five when it is timed, one answer.
    found = decided(page, lostAfter=7)
    assert (found["before"], found["after"], found["said"]) == ("webgpu", "wasm", [0.5] * 3)
