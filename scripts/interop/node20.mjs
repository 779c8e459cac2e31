// Node.js 20 lacks Promise.withResolvers (22 has it), which js-libp2p's dependencies call. Imported first.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((...both) => { [resolve, reject] = both })
  return { promise, resolve, reject }
}
