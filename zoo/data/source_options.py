"""The options of a source of data: how its files are read and divided."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from zoo.data.incoming import Shares
from zoo.job_spec import Record

Share = Annotated[float, Field(gt=0, lt=1)]
Side = Annotated[int, Field(ge=1, le=4096)]


class SourceOptions(Record):
    """Options of a source, as typed after `?` in its spelling or as options of `zoo data add`."""

    target: str | None = None
    """Table: the column with the classes."""
    weight: str | None = None
    """Table: the column with the weights of the rows."""
    drop: tuple[str, ...] = ()
    """Table: columns that are left out."""
    category: tuple[str, ...] = ()
    """Table: columns of numbers that are categories."""
    drop_missing_target: bool = False
    """Table: leave out rows without a target instead of refusing them."""
    sep: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """CSV: the separator; found if None."""
    decimal: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """CSV: the decimal point; found if None."""
    encoding: str | None = None
    """CSV: the encoding; UTF-8 if None, and the Korean ones are tried."""
    test: Annotated[float, Field(gt=0, le=1)] | str | None = None
    """The share of the rows to hold out for the test, 1 for all; or the file or folder of the test
    split."""
    validation: Share | str | None = None
    """The share of the training rows to hold out to choose by, or its file or folder."""
    size: tuple[Side, Side] | None = None
    """Images: height and width to which they are resized."""
    grey: bool = False
    """Images: convert colour to grey."""
    transpose: bool = False
    """Images: swap height and width, as EMNIST's files need."""
    classes: tuple[str, ...] = ()
    """The names of the labels in numerical order, or of the classes to keep of a folder."""
    metric: str | None = None
    """The metric by which models are judged on this dataset."""

    @property
    def shares(self) -> Shares:
        """The shares to hold out."""
        test, validation = self.test, self.validation
        return Shares(
            test if isinstance(test, float) else None,
            validation if isinstance(validation, float) else None,
        )
