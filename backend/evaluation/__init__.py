"""Judge pictures of many people: fixed scenes, an independent judge, and rival methods on the same models and seeds."""
