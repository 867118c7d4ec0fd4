"""The one thing that setup.cfg has no word for: the native extension. Everything else is declared there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "imagi_pipeline.core.images._jpeg_coefficients",
            ["imagi_pipeline/core/images/_jpeg_coefficients.c", "imagi_pipeline/core/images/_jpeg_stream.c"],
            depends=[
                f"imagi_pipeline/core/images/_jpeg_{name}.h" for name in ("huffman", "quantizer", "stream")
            ],
            libraries=["jpeg"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,  # without a compiler or libjpeg-turbo, pixels are decoded instead
        )
    ]
)
