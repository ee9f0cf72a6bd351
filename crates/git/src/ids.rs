//! Sets and maps of object ids that were computed or found here.
//!
//! They hash an id by its own first bytes. Ids that a client merely claims go into the standard
//! library's collections, which nobody can make collide.

use gix::ObjectId;

/// A set of object ids.
pub(crate) type IdSet = gix::hashtable::HashSet<ObjectId>;

/// A map from object ids.
pub(crate) type IdMap<V> = gix::hashtable::HashMap<ObjectId, V>;
