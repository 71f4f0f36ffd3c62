//! What user space may copy in and out of the kernel's tables byte by byte.

macro_rules! pod {
    ($($ty:ty),+ $(,)?) => {
        $(
            // SAFETY: the type implements bytemuck::Pod: no padding, every bit pattern valid.
            unsafe impl aya::Pod for $ty {}
        )+
        const _: () = {
            const fn is_pod<T: bytemuck::Pod>() {}
            $(is_pod::<$ty>();)+
        };
    };
}

pod!(
    crate::classifier::Line,
    crate::cookie::Secret,
    crate::datagram::Datagram,
    crate::event::Bucket,
    crate::event::Untold,
    crate::filter::connection::Connection,
    crate::filter::pinhole::Family,
    crate::filter::pinhole::Pinhole,
    crate::filter::pinhole::PinholeKey,
    crate::filter::pinhole::Session,
    crate::flow::Alias,
    crate::flow::Flow,
    crate::flow::FragmentKey,
    crate::flow::KeyV4,
    crate::flow::KeyV6,
    crate::flow::Timeouts,
    crate::layout::Attack,
    crate::layout::FilterCounters,
    crate::layout::OwnAddresses,
    crate::layout::Port,
    crate::layout::SourceLimits,
    crate::layout::ReplayInput,
    crate::layout::ReplayOutput,
    crate::policy::Binding,
    crate::policy::InForce,
    crate::shadow::Difference,
    crate::shadow::Pair,
    crate::shadow::Sightings,
    crate::shadow::Totals,
);
