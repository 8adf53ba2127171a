"""First names for generated questions: test questions use other people than all the rest."""

_TRAIN_NAMES = (
    "Adam Alice Amir Anna Ben Bella Carl Carmen Chloe Daniel Dora Eddie Elena Emma Felix Fiona Frank Grace Greg "
    "Hannah Hugo Ida Ivan Jack Jana Julia Karim Kate Kevin Laura Leo Lily Lucas Maria Mark Maya Nadia Nick Nora "
    "Oscar Paula Peter Quinn Rachel Ralph Rosa Ruth Sam Sara Simon Sophie Stefan Tina Tom Uma Vera Victor Walter "
    "Wendy Yusuf Zoe Abel Becky Cyrus Dylan Erika Gavin Isaac Joel Kurt Linda Megan Noel Priya Rufus Tessa Vivek "
    "Yolanda"
)
TRAIN_NAMES = tuple(_TRAIN_NAMES.split())
_TEST_NAMES = (
    "Aaron Amy Arthur Bianca Boris Celia Chris Clara David Diana Dimitri Edith Elias Esther Fatima Fred Gina "
    "Gloria Harold Helen Ines Irene Jacob James Joan Judith Keith Kim Lars Lena Louis Mabel Martin Miguel Mona "
    "Nathan Nina Olga Oliver Pablo Pearl Philip Ramon Rita Robert Sandra Sean Stella Susan Theo Thomas Ursula "
    "Valerie Vincent Wanda William Xavier Yvonne Zack Ahmed Brenda Caleb Doris Emil Farah Gwen Henry Iris Jorge "
    "Klara Logan Marta"
)
TEST_NAMES = tuple(_TEST_NAMES.split())
