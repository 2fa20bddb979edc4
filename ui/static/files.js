// Files come in by the button, dropped anywhere, or pasted; the uploader of the composer takes them.
(() => {
  // A photo is made as small as a model looks at it; what the browser cannot read is left for the page to judge.
  const MAX_IMAGE_BYTES = 600_000;
  const made = async (file) => {
    if (file.size <= MAX_IMAGE_BYTES || !/^image\/(png|jpeg|webp)$/.test(file.type)) return file;
    const picture = await createImageBitmap(file).catch(() => null);
    for (const edge of picture ? [1568, 1024, 512] : []) {
      const scale = Math.min(1, edge / Math.max(picture.width, picture.height));
      const canvas = new OffscreenCanvas(Math.ceil(picture.width * scale), Math.ceil(picture.height * scale));
      const pen = canvas.getContext("2d");
      pen.fillStyle = "white";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
      if (blob.size <= MAX_IMAGE_BYTES) return new File([blob], file.name, { type: blob.type });
    }
    return file;
  };
  const addFiles = async (files) => {
    const uploader = document.querySelector("[data-uploader]")?.dataset.uploader;
    const ready = await Promise.all([...files].map(made));
    if (uploader) getElement(Number(uploader))?.$refs.qRef.addFiles(ready);
  };

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.documentElement.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.documentElement.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.documentElement.classList.remove("dropping");
    addFiles(event.dataTransfer.files);
  });
  // What is pasted (or dropped, or dictated) into the message and does not fit becomes a file, rather than be cut.
  document.addEventListener("beforeinput", (event) => {
    const { value, selectionStart, selectionEnd, dataset } = event.target;
    const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
    if (!dataset?.most || value.length - (selectionEnd - selectionStart) + text.length <= Number(dataset.most)) return;
    if (text.length < 1000 || !event.cancelable) return; // typed: the page says that the message is too long
    event.preventDefault();
    addFiles([new File([text], dataset.pasted, { type: "text/plain" })]);
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    if (!files?.length || event.clipboardData.types.includes("text/plain")) return; // a table has its picture with it
    event.preventDefault();
    addFiles(files);
  });
  document.addEventListener(
    "change",
    (event) => {
      if (!event.target.matches?.(".chat .q-uploader__input")) return;
      event.stopImmediatePropagation();
      addFiles(event.target.files).then(() => (event.target.value = ""));
    },
    { capture: true },
  );
})();
