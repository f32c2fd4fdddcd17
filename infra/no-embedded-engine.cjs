// Stands in bundles for the engines that live on a local disk: functions.ts says why. lib/services.ts refuses a store on a
// local disk before it calls one.
module.exports = {};
