// What the page says, in two languages.

const ENGLISH = {
  welcome: "Point, and read the rock",
  welcome_more: "Show a thin section to the camera, or drop photographs here.",
  private: "Everything happens inside this browser; no photograph leaves it.",
  drop_here: "Drop photographs, or a model file",
  camera: "Camera", photographs: "Photographs", open: "Open", sample: "Drawn sample", freeze: "Freeze", measure: "Scale",
  snapshot: "Picture", table: "Table", report: "Report", tools: "Tools", photograph: "Photograph with its map", result: "Result",
  stop: "Stop", theme: "Light or dark", map: "Map", heat: "Heat", classes: "Classes", photo_only: "None", compare: "Compare",
  photo: "Photograph", heat_refined: "Heat, refined with texture", light: "Light", light_refused: "The camera would not switch its light.",
  report_heat: "Heat: evidence for {name}, from none (dark blue, clear) to full (yellow), on a scale that is the same for every photograph.",
  report_area: "Area: pixels whose hottest class reaches half heat.",
  no_evidence: "no evidence", full_evidence: "full", opacity: "Opacity", refine: "Refine with texture",
  class_shown: "Class", area: "area", most_probable: "The most probable", device: "Device", resolution: "Resolution",
  series: "Series", clear: "Clear", measured_line: "How long is the line?", length_um: "Length in µm",
  set_scale: "Set the scale", cancel: "Cancel", close: "Close", about_model: "About this model",
  other_model: "Any model file (.onnx) can be dropped onto the page.", open_model: "Open a model file",
  not_sure: "Not sure", nothing_here: "Nothing here", unfamiliar: "Unlike the training photographs",
  not_sure_why: "No class is probable enough for this model to name one.",
  nothing_here_why: "There is too little evidence for any class this model knows.",
  unfamiliar_why: "Texture and colour lie outside of what the model was trained on: do not trust names or maps.",
  opening: "Opening the model …", no_model: "Drop a model file (.onnx) onto the page to begin.",
  looking: "Looking at {name} …", frozen: "Frozen", behind: "map {seconds} s behind",
  draw_line: "Draw a line along something whose length you know.",
  scale_is: "{scale} µm a pixel", scale_unknown: "scale unknown", rate: "{rate} heatmaps a second",
  threads: "{threads} threads", one_thread: "one thread", timed: "WebGPU {webgpu} ms, WebAssembly {wasm} ms", pixels: "{width} × {height} px", distance: "distance {distance} of {limit}",
  forgotten_scale: "The picture has another size now: its scale is unknown.",
  kept: "Saved: {name}", length_wrong: "A length above 0 in µm, such as 100; received “{received}”.",
  line_short: "That line is too short to measure with: draw it over at least 10 pixels.",
  name: "File", says: "Says", probability: "Probability", covered: "Area", strongest: "strongest: {name}",
  progress: "{done} of {all}", unreadable: "not read",
  shrunk: "{name} has {pixels} megapixels; it was shrunk to {most} for the browser. The command line reads all of it.",
  not_refined: "Photographs above 4 megapixels are not refined with texture in the browser.",
  not_image: "{name} can't be read: not a photograph, damaged, or of a kind this browser does not know (TIFF, RAW). Save it as PNG or JPEG.",
  narrow: "{name} is too narrow for this model. Cut it up.",
  coarse: "At this scale the photograph would have to be enlarged beyond what a browser holds. Measure the scale again.",
  empty_drop: "There was no file in what was dropped. Drop photographs or an .onnx file.",
  camera_denied: "The browser was not allowed to use the camera. Allow it beside the address, and press Camera again.",
  camera_none: "No camera was found. Plug one in, or open photographs.",
  camera_busy: "The camera is there but gives no picture: another program may hold it.",
  camera_lost: "The camera has gone. Plug it in, and press Camera again.",
  camera_insecure: "Browsers give a camera only to pages from this machine or over https.",
  model_not_onnx: "{name} is not an ONNX model file. Make one with: geocamnet export RUN MODEL.onnx",
  model_no_card: "{name} is an ONNX file without a GeoCAMNet card. Make one that carries its card with: geocamnet export RUN MODEL.onnx",
  model_bad_card: "The card in {name} can't be used: {what}. Export the model again.",
  model_other_format: "The card in {name} has format {received}; this page reads format 1. Update the page, or export the model again.",
  model_not_opened: "{name} can't be opened as a network ({what}). The file may be cut short; export or copy it again.",
  model_other_contract: "{name} is not the network its card describes: it needs the input image (uint8), and the outputs probabilities and class_maps. Export the model again.",
  model_not_finite: "The network answered with something that is not a number. Its weights are damaged; export it again.",
  model_too_large: "{name} has {size} MB; a model file for this page has at most 100 MB.",
  model_opened: "Opened {name}.",
  engine_failed: "The computing part of the page did not start ({what}). Reload the page; a browser of 2023 or later is needed.",
  failed: "That did not work: {what}",
  parameters: "Parameters", figures: "Balanced accuracy", known: "Classes", limits: "Limits", licence: "Licence", attribution: "Attribution",
  precision: "Precision", data: "Trained on", input: "Scaled to", on_n: "{value} on {n} photographs",
};

const CHINESE = {
  welcome: "对准薄片，读出岩石",
  welcome_more: "用摄像头对准薄片，或把照片拖到这里。",
  private: "一切都在本浏览器内完成，照片不会离开这台设备。",
  drop_here: "放下照片或模型文件",
  camera: "摄像头", photographs: "照片", open: "打开", sample: "绘制样例", freeze: "定格", measure: "比例尺",
  snapshot: "存图", table: "表格", report: "报告", tools: "工具", photograph: "照片与热图", result: "结果",
  stop: "停止", theme: "浅色或深色", map: "图层", heat: "热图", classes: "类别", photo_only: "无", compare: "对照",
  photo: "照片", heat_refined: "纹理细化的热图", light: "补光", light_refused: "摄像头未能开关补光。",
  report_heat: "热图：{name} 的证据，从无（深蓝、透明）到充分（黄色），所有照片使用同一标尺。",
  report_area: "面积：最热类别达到半热的像素。",
  no_evidence: "无证据", full_evidence: "充分", opacity: "不透明度", refine: "用纹理细化",
  class_shown: "类别", area: "面积", most_probable: "最可能的类别", device: "设备", resolution: "分辨率",
  series: "系列", clear: "清空", measured_line: "这条线有多长？", length_um: "长度（µm）",
  set_scale: "设定比例", cancel: "取消", close: "关闭", about_model: "关于此模型",
  other_model: "任何模型文件（.onnx）都可以拖到本页。", open_model: "打开模型文件",
  not_sure: "不确定", nothing_here: "未见已知组构", unfamiliar: "与训练照片不相似",
  not_sure_why: "没有一个类别的概率高到足以命名。",
  nothing_here_why: "对模型所知的任何类别，证据都太少。",
  unfamiliar_why: "纹理和颜色超出训练范围：名称和热图都不可信。",
  opening: "正在打开模型……", no_model: "请把模型文件（.onnx）拖到本页。",
  looking: "正在分析 {name} ……", frozen: "已定格", behind: "热图落后 {seconds} 秒",
  draw_line: "沿一段已知长度画一条线。",
  scale_is: "每像素 {scale} µm", scale_unknown: "比例未知", rate: "每秒 {rate} 张热图",
  threads: "{threads} 个线程", one_thread: "单线程", timed: "WebGPU {webgpu} 毫秒，WebAssembly {wasm} 毫秒", pixels: "{width} × {height} 像素", distance: "距离 {distance}，限值 {limit}",
  forgotten_scale: "画面尺寸变了，比例未知。",
  kept: "已保存：{name}", length_wrong: "请输入大于 0 的长度（µm），例如 100；收到“{received}”。",
  line_short: "这条线太短，无法量度：请至少画 10 个像素。",
  name: "文件", says: "判断", probability: "概率", covered: "面积", strongest: "最强：{name}",
  progress: "{done} / {all}", unreadable: "未能读取",
  shrunk: "{name} 有 {pixels} 百万像素，已为浏览器缩小到 {most} 百万。命令行可读取全部。",
  not_refined: "超过 4 百万像素的照片在浏览器中不做纹理细化。",
  not_image: "无法读取 {name}：不是照片、已损坏，或浏览器不支持该格式（TIFF、RAW）。请存为 PNG 或 JPEG。",
  narrow: "{name} 对此模型来说太窄，请裁开。",
  coarse: "按此比例需要放大到浏览器无法容纳的尺寸。请重新测量比例。",
  empty_drop: "没有收到文件。请拖入照片或 .onnx 文件。",
  camera_denied: "浏览器未获准使用摄像头。请在地址栏旁允许，然后再按“摄像头”。",
  camera_none: "没有找到摄像头。请插上一个，或打开照片。",
  camera_busy: "摄像头没有画面：可能正被其他程序占用。",
  camera_lost: "摄像头已断开。请重新插上，再按“摄像头”。",
  camera_insecure: "浏览器只对本机或 https 页面开放摄像头。",
  model_not_onnx: "{name} 不是 ONNX 模型文件。请用 geocamnet export RUN MODEL.onnx 生成。",
  model_no_card: "{name} 没有 GeoCAMNet 卡片。请用 geocamnet export RUN MODEL.onnx 生成带卡片的文件。",
  model_bad_card: "{name} 的卡片无法使用：{what}。请重新导出模型。",
  model_other_format: "{name} 的卡片格式为 {received}，本页只读格式 1。请更新本页或重新导出模型。",
  model_not_opened: "{name} 无法作为网络打开（{what}）。文件可能不完整，请重新导出或复制。",
  model_other_contract: "{name} 与其卡片不符：需要输入 image（uint8），输出 probabilities 和 class_maps。请重新导出模型。",
  model_not_finite: "网络的输出不是数字，权重已损坏，请重新导出。",
  model_too_large: "{name} 有 {size} MB；本页的模型文件最大 100 MB。",
  model_opened: "已打开 {name}。",
  engine_failed: "计算部分未能启动（{what}）。请刷新页面；需要 2023 年以后的浏览器。",
  failed: "未能完成：{what}",
  parameters: "参数", figures: "平衡准确率", known: "类别", limits: "局限", licence: "许可", attribution: "出处",
  precision: "精度", data: "训练数据", input: "缩放到", on_n: "{value}（{n} 张照片）",
};

const ALL = { en: ENGLISH, zh: CHINESE };
let language = "en";

function setLanguage(wanted) {
  language = wanted in ALL ? wanted : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of document.querySelectorAll("[data-say-label]")) {
    one.setAttribute("aria-label", say(one.dataset.sayLabel));
    if (one.tagName === "BUTTON") one.title = say(one.dataset.sayLabel);
  }
}

/** Speak a language, and offer the other one. */
export function speak(wanted) {
  setLanguage(wanted);
  const [name, tag] = language === "zh" ? ["English", "en"] : ["中文", "zh"];
  Object.assign(document.getElementById("language"), { textContent: name, lang: tag, ariaLabel: name });
}

export const currentLanguage = () => language;

/** The sentence of a key, its {names} filled in. */
export function say(key, values = {}) {
  const text = ALL[language][key] ?? ENGLISH[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Keys that one language has and another lacks; a test reads it. */
export function missingWords() {
  const keys = Object.keys({ ...ENGLISH, ...CHINESE });
  return keys.filter((key) => !(key in ENGLISH && key in CHINESE));
}
