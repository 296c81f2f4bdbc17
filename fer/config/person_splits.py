"""Configuration of splits by person: folds for validation, and new splits into train and eval."""

from typing import Annotated

from pydantic import Field, model_validator

from fer.config.base import Frozen


class Folds(Frozen):
    """One fold of people: number `fold` of `of`, from 0."""

    fold: Annotated[int, Field(ge=0)] = 0
    of: Annotated[int, Field(ge=2)] = 5

    @model_validator(mode="after")
    def _fold_is_there(self) -> "Folds":
        if self.fold >= self.of:
            raise ValueError(f"fold {self.fold} of {self.of}: folds count from 0 to {self.of - 1}")
        return self


class Resplit(Folds):
    """New splits into train and eval by people, jointly over a set and its masked copies.

    Families of sets without an eval folder are not split: they are not used for testing.

    People are assigned to `of` folds by a hash of (seed, name), stratified by class; `fold` is the
    test fold. Validation is taken from the others.
    """

    seed: Annotated[int, Field(ge=0)] = 1234
