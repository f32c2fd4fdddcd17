// Stands in bundles for what a function does not use: the engines that live on a local disk, which lib/services.ts refuses
// before it calls one, and what asks embedding models where a function opens none. bundles.ts says why.
module.exports = {};
