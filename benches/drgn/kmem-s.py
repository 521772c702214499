# One line a slab cache.
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_usage

for cache in for_each_slab_cache(prog):
    usage = slab_cache_usage(cache)
    print(
        hex(cache.value_()),
        cache.object_size.value_(),
        usage.num_objs - usage.free_objs,
        usage.num_objs,
        usage.num_slabs,
        cache.name.string_().decode(),
    )
