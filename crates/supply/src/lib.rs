//! Images this appliance holds and what they serve.
