//! Who is told how far a lock or a build is.

/// Hears what is being done. Every call returns at once.
pub trait Watch {
    /// Something begins that may take a while.
    fn begin(&self, what: &str);
    /// So many of so many bytes of it are done.
    fn bytes(&self, done: u64, total: u64);
    /// Something worth knowing.
    fn note(&self, text: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn begin(&self, _: &str) {}
    fn bytes(&self, _: u64, _: u64) {}
    fn note(&self, _: &str) {}
}
