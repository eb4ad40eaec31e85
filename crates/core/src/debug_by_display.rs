//! Errors whose `Debug` is their sentence.

/// Implements `Debug` of errors by their `Display`.
///
/// A `main` that returns an error shows its `Debug`, so that is what a newcomer reads first. The
/// `Display` of each of our errors is the whole story, with what lies below it.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_by_display {
    ($($error:ty),+ $(,)?) => {$(
        impl ::core::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
